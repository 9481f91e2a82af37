//! Key pairs, made by `openssl`: for tokens, and for an issuer that publishes them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Alg, EncodingKey};
use serde_json::Value;
use stentor::config::{Algorithm, Key};

/// A new directory, which goes with whoever holds this.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("stentor-keys-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs `openssl` in it.
    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.0).output();
        let output = output.expect("openssl must be installed: the tests make keys and certificates with it");
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir_all(&self.0);
    }
}

/// A key pair. The files go with it.
pub(crate) struct Pair {
    directory: Scratch,
}

impl Pair {
    /// A pair of the kind that these arguments of `openssl genpkey` say.
    pub(crate) fn make(arguments: &[&str]) -> Self {
        let directory = Scratch::new();
        directory.openssl(&[&["genpkey", "-out", "private.pem"], arguments].concat());
        directory.openssl(&["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"]);
        Self { directory }
    }

    /// The quickest to make.
    pub(crate) fn ed25519() -> Self {
        Self::make(&["-algorithm", "ed25519"])
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.directory.path("public.pem")
    }

    pub(crate) fn private_path(&self) -> PathBuf {
        self.directory.path("private.pem")
    }

    pub(crate) fn private(&self) -> Vec<u8> {
        read(&self.private_path())
    }

    /// The public key as a server is configured with it.
    pub(crate) fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Key {
        Key { kid: kid.map(str::to_owned), algorithm, secret: None, secret_env: None, file: Some(self.public()) }
    }

    /// The private key, for signing.
    pub(crate) fn signing(&self, algorithm: Alg) -> EncodingKey {
        let pem = self.private();
        let key = match algorithm {
            Alg::ES256 | Alg::ES384 => EncodingKey::from_ec_pem(&pem),
            Alg::EdDSA => EncodingKey::from_ed_pem(&pem),
            _ => EncodingKey::from_rsa_pem(&pem),
        };
        key.unwrap()
    }

    /// The public key as an issuer publishes it.
    pub(crate) fn jwk(&self, kid: &str, algorithm: Alg) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing(algorithm), algorithm).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Arguments for an RSA pair.
pub(crate) const RSA: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// Arguments for a pair on a curve.
pub(crate) fn ec(curve: &str) -> Vec<String> {
    vec!["-algorithm".to_owned(), "EC".to_owned(), "-pkeyopt".to_owned(), format!("ec_paramgen_curve:{curve}")]
}
