//! How one step of a scripted manager ends, if it does.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::time::Duration;

use crate::clock;

/// How one step of a [`Scripted`](super::Scripted) manager behaves.
///
/// # Examples
///
/// ```
/// use pool_core::testkit::Gate;
///
/// assert_eq!(Gate::default(), Gate::Ok);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Succeeds at once.
    #[default]
    Ok,
    /// Fails at once with a [`ScriptedError`].
    Error,
    /// Succeeds after 150 milliseconds, in ten parts, each of them a place to be cancelled at.
    Slow,
    /// Neither succeeds nor fails.
    Never,
    /// Panics, with a message that starts with "as told".
    Panic,
}

impl Gate {
    /// Every gate there is, for tests that try all combinations.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::testkit::Gate;
    ///
    /// assert!(Gate::ALL.contains(&Gate::Never));
    /// ```
    pub const ALL: [Self; 5] = [Self::Ok, Self::Error, Self::Slow, Self::Never, Self::Panic];

    /// Behaves as it says, once.
    ///
    /// # Errors
    ///
    /// [`ScriptedError`], for [`Gate::Error`].
    ///
    /// # Panics
    ///
    /// For [`Gate::Panic`].
    ///
    /// # Cancellation
    ///
    /// Every part of a [`Gate::Slow`] is a place to be cancelled at.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use pool_core::testkit::Gate;
    ///
    /// assert!(Gate::Ok.pass().await.is_ok());
    /// assert!(Gate::Error.pass().await.is_err());
    /// # }
    /// ```
    pub async fn pass(self) -> Result<(), ScriptedError> {
        match self {
            Self::Ok => Ok(()),
            Self::Error => Err(ScriptedError),
            Self::Slow => {
                for _ in 0..10 {
                    clock::sleep(Duration::from_millis(15)).await;
                }
                Ok(())
            }
            Self::Never => pending().await,
            Self::Panic => panic!("as told"),
        }
    }
}

/// What a step fails with that was told to fail.
///
/// # Examples
///
/// ```
/// assert_eq!(pool_core::testkit::ScriptedError.to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedError;

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for ScriptedError {}
