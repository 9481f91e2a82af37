// Tokens for the page. A development server gives one to whoever asks on this machine; one may also come with the
// address, `#token=…`, to try what an operator's own tokens do.

/** A token that expires sooner is not used for a new connection. */
const LEFT_MS_MIN = 60_000;
const KEPT = 'stentor.token';

/** Why there is no token. `isFinal` means that asking again will not help. */
export class TokenError extends Error {
  constructor(message, isFinal) {
    super(message);
    this.isFinal = isFinal;
  }
}

export class Tokens {
  #user;
  #token;
  #expiresAt = 0;

  constructor(user) {
    this.#user = user;
    const kept = sessionStorage.getItem(KEPT);
    if (kept && userOf(kept) === user) {
      this.#token = kept;
      this.#expiresAt = (claimsOf(kept).exp ?? Infinity) * 1000;
    }
  }

  /** A token that is good for a while. */
  async get() {
    if (this.#token && this.#expiresAt - Date.now() > LEFT_MS_MIN) return this.#token;
    const { token, expiresAt } = await fetchToken(this.#user);
    this.#token = token;
    this.#expiresAt = expiresAt ?? Infinity;
    return token;
  }

  /** The server did not like it. */
  forget() {
    this.#token = undefined;
    sessionStorage.removeItem(KEPT);
  }
}

async function fetchToken(user) {
  let response;
  try {
    const headers = { 'Content-Type': 'application/json' };
    response = await fetch('/demo/token', { method: 'POST', headers, body: JSON.stringify({ user }) });
  } catch {
    throw new TokenError('the server cannot be reached', false);
  }
  if (response.ok) return response.json();
  const text = (await response.text().catch(() => '')).slice(0, 200);
  const isFinal = response.status >= 400 && response.status < 500 && response.status !== 429;
  throw new TokenError(`no token for this name: ${text || response.status}`, isFinal);
}

/** Takes a token out of the address, where it would be seen and copied. Returns whose it is. */
export function adoptFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return undefined;
  history.replaceState(null, '', location.pathname + location.search);
  sessionStorage.setItem(KEPT, token);
  return userOf(token);
}

const userOf = (token) => claimsOf(token).sub;

/** Reads claims to know the name and the time. It is the server who judges them. */
function claimsOf(token) {
  try {
    const letters = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(letters, (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}
