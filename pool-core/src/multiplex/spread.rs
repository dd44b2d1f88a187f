//! Whose turn it is, among connections.

/// Which of several connections with room takes the next lease.
///
/// # Examples
///
/// ```
/// use pool_core::Spread;
///
/// assert_eq!(Spread::default(), Spread::FullestFirst);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spread {
    /// The one with the most leases: the others empty, lie idle and are reaped.
    #[default]
    FullestFirst,
    /// The one with the fewest leases: as many connections stay as a burst has opened.
    LeastLoaded,
}
