//! What came out: a verdict for each rule, as a table that a person can read.

use std::fmt;

use super::rule::Rule;

/// What the check found out about one manager; it displays as a table.
///
/// # Examples
///
/// ```
/// use pool_core::testkit::Scripted;
/// use pool_core::testkit::conformance::{Rule, Subject, Verdict};
/// # use pool_core::testkit::Peer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let report = pool_core::doc::scripted_report().await;
/// assert_eq!(*report.verdict(Rule::DropCloses), Verdict::Kept);
/// assert_eq!(report.broken().count(), 0);
/// assert!(report.to_string().contains("kept       a connection that is dropped is closed"));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a report says nothing until it is looked at: `assert` it"]
pub struct Report {
    manager: &'static str,
    verdicts: Vec<(Rule, Verdict)>,
}

/// What the check found out about one rule.
///
/// # Examples
///
/// See [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The manager keeps it, as far as could be seen.
    Kept,
    /// The manager breaks it.
    Broken(Fault),
    /// It was not asked, for this reason.
    NotAsked(&'static str),
}

/// What was seen when a rule was broken.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let report = pool_core::doc::broken_report().await;
/// let (_, fault) = report.broken().next().expect("this manager never wakes anybody");
/// assert_eq!(fault.method(), "poll_dropped");
/// assert!(fault.to_string().starts_with("poll_dropped: the server hung up, and nobody was woken"));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    method: &'static str,
    seen: String,
}

impl Report {
    pub(super) fn new(manager: &'static str) -> Self {
        Self {
            manager,
            verdicts: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, rule: Rule, verdict: Verdict) {
        self.verdicts.push((rule, verdict));
    }

    /// What was found out about this rule.
    ///
    /// # Examples
    ///
    /// See [`Report`].
    #[must_use]
    pub fn verdict(&self, rule: Rule) -> &Verdict {
        let found = self.verdicts.iter().find(|(other, _)| *other == rule);
        &found.expect("a report has a verdict for each rule").1
    }

    /// The rules that are broken, and what was seen.
    ///
    /// # Examples
    ///
    /// See [`Report`] and [`Fault`].
    pub fn broken(&self) -> impl Iterator<Item = (Rule, &Fault)> {
        self.verdicts
            .iter()
            .filter_map(|(rule, verdict)| match verdict {
                Verdict::Broken(fault) => Some((*rule, fault)),
                _ => None,
            })
    }

    /// The rules that were not asked.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::testkit::conformance::Rule;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let report = pool_core::doc::scripted_report().await;
    /// // Nobody said that the probe is to be exact.
    /// assert!(report.not_asked().any(|rule| rule == Rule::KernelIsAsked));
    /// # }
    /// ```
    pub fn not_asked(&self) -> impl Iterator<Item = Rule> {
        let not_asked = |verdict: &Verdict| matches!(verdict, Verdict::NotAsked(_));
        self.verdicts
            .iter()
            .filter(move |(_, verdict)| not_asked(verdict))
            .map(|(rule, _)| *rule)
    }

    /// Does nothing if no rule is broken; what was not asked is not held against the manager.
    ///
    /// # Panics
    ///
    /// With the whole table, if a rule is broken.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let report = pool_core::doc::scripted_report().await;
    /// report.assert();
    /// # }
    /// ```
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.broken().next().is_none(), "{self}");
    }
}

impl Fault {
    /// The method of the manager that is at fault, or what else it is that the check was given.
    ///
    /// # Examples
    ///
    /// See [`Fault`].
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }
}

/// That `method` is at fault, as `seen`.
pub(super) fn broken(method: &'static str, seen: impl Into<String>) -> Verdict {
    let seen = seen.into();
    Verdict::Broken(Fault { method, seen })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.method, self.seen)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (broken, not_asked) = (self.broken().count(), self.not_asked().count());
        let kept = self.verdicts.len() - broken - not_asked;
        let manager = self.manager;
        writeln!(
            f,
            "{manager}: {kept} rules kept, {broken} broken, {not_asked} not asked"
        )?;
        for (rule, verdict) in &self.verdicts {
            match verdict {
                Verdict::Kept => writeln!(f, "  kept       {rule}")?,
                Verdict::NotAsked(why) => writeln!(f, "  not asked  {rule}\n               {why}")?,
                Verdict::Broken(fault) => writeln!(
                    f,
                    "  BROKEN     {rule}\n               {fault}\n               remedy: {}\n               why: see Rule::{rule:?}",
                    rule.remedy()
                )?,
            }
        }
        Ok(())
    }
}
