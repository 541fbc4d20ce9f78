//! How a result crosses from one of our processes to another: one tag byte, then the bytes or the error.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

const GOOD: u8 = 0;
const BAD: u8 = 1;

/// The most bytes that an answer may have.
pub(super) const ANSWER_MAX: usize = 256 << 20;

/// [`Error`], so that it can be sent.
#[derive(Serialize, Deserialize)]
enum Failure {
    System { doing: String, errno: Option<i32>, text: String },
    Protocol { problem: String },
    EnactorDied(String),
    TooLong(Duration),
    Interrupted,
}

/// The result as bytes.
pub(super) fn encode(result: Result<Vec<u8>, Error>) -> Vec<u8> {
    let (tag, body) = match result {
        Ok(body) => (GOOD, body),
        Err(error) => (BAD, serde_json::to_vec(&Failure::from(error)).unwrap_or_default()),
    };
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(tag);
    bytes.extend_from_slice(&body);
    bytes
}

/// The result that these bytes say.
pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    match bytes.first() {
        Some(&GOOD) => {
            bytes.remove(0);
            Ok(bytes)
        }
        Some(&BAD) => match serde_json::from_slice::<Failure>(&bytes[1..]) {
            Ok(failure) => Err(failure.into()),
            Err(error) => Err(unreadable(error.to_string())),
        },
        Some(tag) => Err(unreadable(format!("tag {tag}"))),
        None => Err(unreadable("it is empty".into())),
    }
}

fn unreadable(problem: String) -> Error {
    Error::Protocol { doing: "read an answer", problem }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::System { doing, source } => {
                Self::System { doing, errno: source.raw_os_error(), text: source.to_string() }
            }
            Error::Protocol { doing, problem } => Self::Protocol { problem: format!("{doing}: {problem}") },
            Error::EnactorDied(how) => Self::EnactorDied(how),
            Error::TooLong(limit) => Self::TooLong(limit),
            Error::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::System { doing, errno: Some(errno), .. } => {
                Self::System { doing, source: io::Error::from_raw_os_error(errno) }
            }
            Failure::System { doing, errno: None, text } => {
                Self::System { doing, source: io::Error::other(text) }
            }
            Failure::Protocol { problem } => {
                Self::Protocol { doing: "work in a process of our own", problem }
            }
            Failure::EnactorDied(how) => Self::EnactorDied(how),
            Failure::TooLong(limit) => Self::TooLong(limit),
            Failure::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_kind_and_their_errno() {
        let sent = Error::system("mount proc on /proc", io::Error::from_raw_os_error(1));
        let got = decode(encode(Err(sent))).unwrap_err();
        assert!(matches!(&got, Error::System { doing, source }
            if doing == "mount proc on /proc" && source.raw_os_error() == Some(1)));
        assert!(matches!(decode(encode(Err(Error::Interrupted))), Err(Error::Interrupted)));
        assert_eq!(decode(encode(Ok(vec![1, 2]))).unwrap(), [1, 2]);
        assert!(decode(Vec::new()).is_err());
    }
}
