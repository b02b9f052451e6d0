//! Links to a file of a local storage: a text that says which job, until when, and that we said so.

use std::fmt;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// What the signature is of, so that a key that is used for something else as well signs nothing that is taken for it.
const PURPOSE: &[u8] = b"threadline export download v1\0";

/// Signs tokens that let whoever has one download the file of one job, for a short time. Where the store signs URLs itself,
/// [`Storage::signed_url`](crate::Storage::signed_url) does the same without the application.
///
/// ```
/// use chrono::{TimeDelta, Utc};
/// use threadline_worker::DownloadKey;
/// use uuid::Uuid;
///
/// let key = DownloadKey::new("thirty-two bytes, better random.".as_bytes())?;
/// let (job, now) = (Uuid::nil(), Utc::now());
/// let token = key.token(job, now + TimeDelta::minutes(5));
/// assert_eq!(key.job_of(&token, now)?, job);
/// assert!(key.job_of(&token, now + TimeDelta::minutes(5)).is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DownloadKey(Hmac<Sha256>);

impl fmt::Debug for DownloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadKey").finish_non_exhaustive()
    }
}

/// A text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key for downloads is missing or shorter than 32 bytes; make one with `openssl rand -hex 32`")]
pub struct InvalidKey;

/// A token does not open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It was not signed with this key, or not for this.
    #[error("the token is not one of ours")]
    Forged,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

impl DownloadKey {
    /// With this secret, of at least 32 bytes. All instances of an application have the same.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] for a shorter one.
    pub fn new(secret: &[u8]) -> Result<Self, InvalidKey> {
        if secret.len() < 32 {
            return Err(InvalidKey);
        }
        Hmac::new_from_slice(secret).map(Self).map_err(|_| InvalidKey)
    }

    /// With the secret in `THREADLINE_DOWNLOAD_KEY`.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] when it is not set, or shorter than 32 bytes.
    pub fn from_env() -> Result<Self, InvalidKey> {
        let secret = std::env::var("THREADLINE_DOWNLOAD_KEY").map_err(|_| InvalidKey)?;
        Self::new(secret.as_bytes())
    }

    /// A token for the file of `job`, good until `expires`, without it, in whole seconds. It goes into a URL as it is. The file
    /// itself may expire earlier.
    pub fn token(&self, job: Uuid, expires: DateTime<Utc>) -> String {
        let (job, expires) = (job.simple(), expires.timestamp());
        let claim = format!("{job}.{expires}");
        let signature: String =
            self.signed(&claim).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{claim}.{signature}")
    }

    /// The job that a token is for.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`]; that it has expired is only said of one that was ours.
    pub fn job_of(&self, token: &str, now: DateTime<Utc>) -> Result<Uuid, InvalidToken> {
        let (claim, signature) = token.rsplit_once('.').ok_or(InvalidToken::Forged)?;
        let signature = bytes_of(signature).ok_or(InvalidToken::Forged)?;
        // Takes the same time wherever they differ.
        self.signed(claim).verify_slice(&signature).map_err(|_| InvalidToken::Forged)?;
        let (job, expires) = claim.split_once('.').ok_or(InvalidToken::Forged)?;
        let job = Uuid::try_parse(job).map_err(|_| InvalidToken::Forged)?;
        let expires: i64 = expires.parse().map_err(|_| InvalidToken::Forged)?;
        if now.timestamp() < expires { Ok(job) } else { Err(InvalidToken::Expired) }
    }

    fn signed(&self, claim: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(PURPOSE);
        mac.update(claim.as_bytes());
        mac
    }
}

/// Of 64 lower-case hexadecimal digits: a token has one spelling.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 64 {
        return None;
    }
    digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn no_token_but_ours_opens_anything() {
        let key = DownloadKey::new(&[7; 32]).unwrap();
        let (job, now) = (Uuid::from_u128(5), "2026-11-21T00:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let token = key.token(job, now + TimeDelta::seconds(60));
        assert_eq!(key.job_of(&token, now), Ok(job));
        assert_eq!(key.job_of(&token, now + TimeDelta::seconds(59)), Ok(job));
        assert_eq!(key.job_of(&token, now + TimeDelta::seconds(60)), Err(InvalidToken::Expired));

        let other = DownloadKey::new(&[8; 32]).unwrap();
        assert_eq!(other.job_of(&token, now), Err(InvalidToken::Forged));
        // Each character replaced, left out, doubled; the job and the time of another token.
        for place in 0..token.len() {
            let forged = |piece: &str| format!("{}{piece}{}", &token[..place], &token[place + 1..]);
            let (here, digit) = (&token[place..=place], if &token[place..=place] == "0" { "1" } else { "0" });
            for forged in [forged(digit), forged(""), forged(&here.repeat(2)), forged("."), forged("ä")] {
                if forged != token {
                    assert_eq!(key.job_of(&forged, now), Err(InvalidToken::Forged), "{forged}");
                }
            }
        }
        assert_eq!(key.job_of(&token.to_uppercase(), now), Err(InvalidToken::Forged));
        let later = key.token(job, now + TimeDelta::days(60));
        let (claim, _) = later.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(key.job_of(&format!("{claim}.{signature}"), now), Err(InvalidToken::Forged));
        for odd in ["", ".", "..", "a.b.c", &"0".repeat(200)] {
            assert_eq!(key.job_of(odd, now), Err(InvalidToken::Forged), "{odd}");
        }
    }

    #[test]
    fn short_secret_is_refused_and_none_is_shown() {
        assert_eq!(DownloadKey::new(&[1; 31]).unwrap_err(), InvalidKey);
        let key = DownloadKey::new(b"a-very-secret-secret-of-32-bytes").unwrap();
        assert_eq!(format!("{key:?}"), "DownloadKey { .. }");
    }
}
