//! Signatures as Standard Webhooks defines them (version 1, symmetric): HMAC-SHA256 over id, time and
//! body, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::declared::SecretSource;

/// What a secret that holds its key in base64 begins with.
const PREFIX: &str = "whsec_";

/// The key in a secret: behind `whsec_` base64, else the bytes of the text.
///
/// # Errors
/// In words, never with the value.
pub(super) fn key(secrets: &SecretSource, name: &str) -> Result<Vec<u8>, String> {
    let secret = secrets.resolve(name)?;
    match secret.strip_prefix(PREFIX) {
        None => Ok(secret.into_bytes()),
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| format!("the secret {name} is no base64 behind {PREFIX}")),
    }
}

/// The value of `webhook-signature`: one signature for each key, so that receivers may change theirs
/// at leisure.
pub(super) fn sign(keys: &[Vec<u8>], id: &str, timestamp: u64, body: &str) -> String {
    let one = |key: &Vec<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_the_specification_gives_as_its_example() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secrets = SecretSource::with_environment(None, move |_| Some(secret.to_owned()));
        let key = key(&secrets, "HOOK").unwrap();
        let signature =
            sign(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_key_signs_for_itself() {
        let keys = [b"one".to_vec(), b"two".to_vec()];
        let both = sign(&keys, "id", 1, "{}");
        let alone: Vec<_> =
            keys.iter().map(|key| sign(std::slice::from_ref(key), "id", 1, "{}")).collect();
        assert_eq!(both, alone.join(" "));
    }
}
