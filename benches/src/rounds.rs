//! Slices of work in rounds, whose order is shuffled anew each time: what drifts on the machine, drifts for all.

use std::fmt;
use std::time::Duration;

/// What one slice of work showed.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// From the first start to the last end.
    pub took: Duration,
    /// Checkouts that were served and checked in again.
    pub cycles: u64,
    /// Checkouts that were given up by intention.
    pub cancelled: u64,
    /// The cycles of each task.
    pub shares: Vec<u64>,
    /// How long each checkout took, in nanoseconds; empty unless [`Clocked::EachCheckout`].
    pub waits: Vec<u64>,
    /// Tasks that were still waiting long after all others were done.
    pub hung: usize,
    /// Connections that could not be had any more afterwards.
    pub lost: usize,
}

impl Slice {
    /// Nanoseconds a cycle.
    pub fn nanos(&self) -> f64 {
        self.took.as_secs_f64() * 1e9 / self.cycles.max(1) as f64
    }

    /// The cycles of the unluckiest task over those of the luckiest.
    pub fn luck(&self) -> f64 {
        let least = self.shares.iter().min().copied().unwrap_or(0);
        let most = self.shares.iter().max().copied().unwrap_or(0);
        least as f64 / most.max(1) as f64
    }
}

/// What is looked at in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocked {
    /// The whole, so that no clock is read in between.
    Whole,
    /// Each checkout, for the waits.
    EachCheckout,
}

/// A contender at its work, which it does for about so long.
pub struct Entrant {
    /// The contender's name.
    pub name: &'static str,
    work: Box<dyn FnMut(Clocked, Duration) -> Slice>,
}

impl Entrant {
    /// One that works as `work` does.
    pub fn new(name: &'static str, work: impl FnMut(Clocked, Duration) -> Slice + 'static) -> Self {
        Self {
            name,
            work: Box::new(work),
        }
    }

    /// Works for about so long.
    pub fn work(&mut self, clocked: Clocked, about: Duration) -> Slice {
        (self.work)(clocked, about)
    }

    /// How long so many cycles take, as a framework asks that counts cycles. Works for about as long.
    pub fn time(&mut self, cycles: u64) -> Duration {
        let about = Duration::from_nanos(cycles.saturating_mul(300));
        let least = Duration::from_millis(1);
        let slice = self.work(Clocked::Whole, about.max(least));
        Duration::from_secs_f64(slice.nanos() * cycles as f64 / 1e9)
    }
}

impl fmt::Debug for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrant")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many rounds.
    pub rounds: usize,
    /// A slice in which only the whole is timed.
    pub whole: Duration,
    /// A slice in which each checkout is; zero: none.
    pub each: Duration,
}

/// What an entrant did in all rounds.
#[derive(Clone, Debug)]
pub struct Record {
    /// The contender's name.
    pub name: &'static str,
    /// Round by round.
    pub rounds: Vec<Round>,
}

/// What an entrant did in a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Nanoseconds a cycle, of all tasks together.
    pub nanos: f64,
    /// The cycles of the unluckiest task over those of the luckiest.
    pub luck: f64,
    /// The wait that half, 99 and 99.9 of a hundred stay below, and the longest, in nanoseconds.
    pub waits: [f64; 4],
    /// Checkouts given up by intention, over those that were served.
    pub cancelled: f64,
    /// Tasks that hung.
    pub hung: usize,
    /// Connections lost.
    pub lost: usize,
}

impl Record {
    /// The median over the rounds.
    pub fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// The median of what this one needs over what the other needs, in the same round each.
    pub fn ratio(&self, other: &Self, of: impl Fn(&Round) -> f64) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        median(rounds.map(|(ours, theirs)| of(ours) / of(theirs)).collect())
    }

    /// The most over the rounds.
    pub fn most(&self, of: impl Fn(&Round) -> f64) -> f64 {
        self.rounds.iter().map(of).fold(0.0, f64::max)
    }
}

/// The record of the contender with this name.
///
/// # Panics
///
/// When there is none.
#[track_caller]
pub fn of<'a>(records: &'a [Record], name: &str) -> &'a Record {
    let record = records.iter().find(|record| record.name == name);
    record.unwrap_or_else(|| panic!("{name} takes part"))
}

/// Has all of them work, round by round; the first slice of each is not counted.
pub fn play(entrants: &mut [Entrant], plan: Plan) -> Vec<Record> {
    let records = entrants.iter().map(|entrant| Record {
        name: entrant.name,
        rounds: Vec::new(),
    });
    let mut records: Vec<Record> = records.collect();
    let mut turns: Vec<usize> = (0..entrants.len()).collect();
    let mut shuffle = Shuffle(0x9E37_79B9_7F4A_7C15);
    for entrant in entrants.iter_mut() {
        entrant.work(Clocked::Whole, plan.whole);
    }
    for _ in 0..plan.rounds {
        shuffle.shuffle(&mut turns);
        for &turn in &turns {
            let round = round(&mut entrants[turn], plan);
            records[turn].rounds.push(round);
        }
    }
    records
}

fn round(entrant: &mut Entrant, plan: Plan) -> Round {
    let whole = entrant.work(Clocked::Whole, plan.whole);
    let mut round = Round {
        nanos: whole.nanos(),
        luck: whole.luck(),
        cancelled: whole.cancelled as f64 / whole.cycles.max(1) as f64,
        hung: whole.hung,
        lost: whole.lost,
        waits: [f64::NAN; 4],
    };
    if !plan.each.is_zero() {
        let mut each = entrant.work(Clocked::EachCheckout, plan.each);
        each.waits.sort_unstable();
        round.waits = [0.5, 0.99, 0.999, 1.0].map(|part| rank(&each.waits, part));
        round.hung = round.hung.max(each.hung);
        round.lost = round.lost.max(each.lost);
    }
    round
}

/// By nearest rank; of nothing, not a number.
fn rank(sorted: &[u64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map_or(f64::NAN, |&value| value as f64)
}

/// The one in the middle; of nothing, not a number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Numbers that look random, the same in each run (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Shuffle(pub u64);

impl Shuffle {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Puts them in any order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.draw() % (last as u64 + 1);
            items.swap(last, usize::try_from(chosen).expect("at most last"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_and_the_middle_is_the_median() {
        let sorted: Vec<u64> = (1..=1000).collect();
        let ranks = [0.5, 0.99, 0.999, 1.0].map(|part| rank(&sorted, part));
        assert_eq!(ranks, [500.0, 990.0, 999.0, 1000.0]);
        assert!(rank(&[], 0.5).is_nan());
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn all_take_part_in_each_round_and_ratios_are_those_of_a_round() {
        let mut pace = 1_u64;
        let mut drifting = move |share| {
            pace += 1;
            Slice {
                took: Duration::from_nanos(share * pace / 2),
                cycles: 1,
                shares: vec![1, 2],
                ..Slice::default()
            }
        };
        let mut twice = drifting;
        let mut entrants = [
            Entrant::new("one", move |_, _| drifting(1_000_000)),
            Entrant::new("two", move |_, _| twice(2_000_000)),
        ];
        let plan = Plan {
            rounds: 9,
            whole: Duration::from_millis(1),
            each: Duration::ZERO,
        };
        let records = play(&mut entrants, plan);
        assert!(records.iter().all(|record| record.rounds.len() == 9));
        let ratio = of(&records, "two").ratio(of(&records, "one"), |round| round.nanos);
        assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
        assert_eq!(of(&records, "one").median(|round| round.luck), 0.5);
    }

    #[test]
    fn a_shuffle_keeps_what_it_shuffles() {
        let mut items: Vec<u32> = (0..50).collect();
        Shuffle(7).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
