//! Passwords: hashed with Argon2, which is slow by design, so never on the event loop nor while a transaction is open.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{self, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};

/// What is compared with where there is no hash, so that it takes as long.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hash("").expect("an empty password can be hashed"));

/// The hash to be stored.
pub(crate) fn hash(password: &str) -> Result<String, password_hash::Error> {
    let salt = SaltString::generate(&mut OsRng);
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt)?.to_string())
}

/// Whether the password is the one that was hashed. Never, where there is none or one that is no hash.
pub(crate) fn verify(password: &str, hash: Option<&str>) -> bool {
    let hash = hash.and_then(|hash| PasswordHash::new(hash).ok());
    let exists = hash.is_some();
    let hash = hash.unwrap_or_else(|| PasswordHash::new(&NOBODYS).expect("it was made by `hash`"));
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && exists
}
