// Where tokens come from.

import { StentorError } from "./errors.js";

/** A token, or a function that gives a fresh one each time. Only with a function can this client outlive a token. */
export type TokenSource = string | (() => string | Promise<string>);

export function canRefresh(source: TokenSource): boolean {
  return typeof source === "function";
}

export async function tokenFrom(source: TokenSource): Promise<string> {
  if (typeof source === "string") return source;
  try {
    return await source();
  } catch (cause) {
    throw new StentorError("TOKEN_UNAVAILABLE", "the function that gives the token failed", { retryable: true, cause });
  }
}
