//! Which examples a micro-step trains on: a function of the seed, the epoch and its number, without any state to save.
//!
//! An epoch goes through the order of (seed, epoch) in windows. With packing each window becomes bins, in an order of their own, for
//! the longest come first of a packing; without, places stay as they are. A micro-batch is some bins, or some examples; the last of
//! an epoch may have fewer. Batches are ragged, so a bin is no more than a list of examples.

use super::DataError;
use super::order::Order;
use super::packing::pack;

/// TRL packs what one call of a data set's map gets.
const WINDOW: usize = 1000;

/// How examples come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Off,
    BestFit { tokens_max: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    pub packing: Packing,
    /// Examples a micro-batch, or bins with packing.
    pub micro_batch: usize,
    pub seed: u64,
}

/// A place in the data: what a checkpoint saves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataPosition {
    pub epoch: u64,
    pub micro_step: u64,
}

#[derive(Debug, Clone)]
pub struct BatchPlan {
    /// Tokens by example.
    lengths: Vec<u32>,
    options: BatchOptions,
}

impl BatchPlan {
    /// A plan for examples of these many tokens.
    ///
    /// # Errors
    /// `Option` for a micro-batch of nothing and for a bin that an example does not fit.
    pub fn new(lengths: Vec<u32>, options: BatchOptions) -> Result<Self, DataError> {
        let fail = |key, problem: String| Err(DataError::Option { key, problem });
        if options.micro_batch == 0 {
            return fail("micro_batch", "is 0, at least 1 is needed".to_owned());
        }
        if lengths.is_empty() {
            return Err(DataError::Nothing("there is no example".to_owned()));
        }
        let longest = lengths.iter().copied().max().unwrap_or(0);
        match options.packing {
            Packing::BestFit { tokens_max } if longest > tokens_max => fail(
                "packing",
                format!(
                    "has bins of {tokens_max} tokens, an example has {longest}: lower max_length or raise it"
                ),
            ),
            _ => Ok(Self { lengths, options }),
        }
    }

    /// The micro-batches of an epoch, in order, a window in memory at a time.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_> {
        let order = Order::new(self.lengths.len(), self.options.seed, epoch);
        Epoch { plan: self, number: epoch, order, next: 0, bins: Vec::new().into_iter() }
    }

    pub fn examples(&self) -> usize {
        self.lengths.len()
    }

    /// How many micro-batches an epoch has.
    pub fn micro_steps(&self, epoch: u64) -> u64 {
        match self.options.packing {
            Packing::Off => self.lengths.len().div_ceil(self.options.micro_batch) as u64,
            Packing::BestFit { .. } => self.epoch(epoch).count() as u64,
        }
    }

    /// From a place on and without end; a place behind its epoch's last micro-batch is the next epoch's first.
    pub fn from(&self, position: DataPosition) -> impl Iterator<Item = (DataPosition, Vec<usize>)> + '_ {
        (position.epoch..).flat_map(move |epoch| {
            let skipped = if epoch == position.epoch { position.micro_step } else { 0 };
            let numbered = (0..).zip(self.epoch(epoch)).skip(usize::try_from(skipped).unwrap_or(usize::MAX));
            numbered.map(move |(micro_step, batch)| (DataPosition { epoch, micro_step }, batch))
        })
    }

    /// The micro-batch of the first epoch that has the most tokens, and of those the one whose attention is the most work: what
    /// a dry run takes.
    pub fn longest_first(&self) -> Vec<usize> {
        let work = |batch: &[usize]| {
            let lengths = || batch.iter().map(|index| u64::from(self.lengths[*index]));
            (lengths().sum::<u64>(), lengths().map(|length| length * length).sum::<u64>())
        };
        let longest = self.epoch(0).map(|batch| (work(&batch), batch));
        let longest = longest.reduce(|best, next| if next.0 > best.0 { next } else { best });
        longest.map(|(_, batch)| batch).unwrap_or_default()
    }

    /// Bins of a window of the order that begins at a position.
    fn window(&self, order: &Order, epoch: u64, begin: usize) -> Vec<Vec<usize>> {
        let window: Vec<usize> =
            (begin..(begin + WINDOW).min(order.len())).map(|place| order.at(place)).collect();
        let Packing::BestFit { tokens_max } = self.options.packing else {
            return window.into_iter().map(|index| vec![index]).collect();
        };
        let lengths: Vec<u32> = window.iter().map(|index| self.lengths[*index]).collect();
        let mut bins = pack(&lengths, tokens_max);
        for place in bins.iter_mut().flatten() {
            *place = window[*place];
        }
        let shuffled = Order::new(bins.len(), self.options.seed ^ epoch.rotate_left(32), !(begin as u64));
        (0..bins.len()).map(|place| std::mem::take(&mut bins[shuffled.at(place)])).collect()
    }
}

/// See [`BatchPlan::epoch`].
#[derive(Debug)]
pub struct Epoch<'a> {
    plan: &'a BatchPlan,
    number: u64,
    order: Order,
    /// Where the next window begins.
    next: usize,
    bins: std::vec::IntoIter<Vec<usize>>,
}

impl Epoch<'_> {
    fn bin(&mut self) -> Option<Vec<usize>> {
        if let Some(bin) = self.bins.next() {
            return Some(bin);
        }
        if self.next >= self.order.len() {
            return None;
        }
        self.bins = self.plan.window(&self.order, self.number, self.next).into_iter();
        self.next += WINDOW;
        self.bins.next()
    }
}

impl Iterator for Epoch<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = self.bin()?;
        for _ in 1..self.plan.options.micro_batch {
            let Some(bin) = self.bin() else { break };
            batch.extend(bin);
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(lengths: &[u32], packing: Packing, micro_batch: usize) -> BatchPlan {
        BatchPlan::new(lengths.to_vec(), BatchOptions { packing, micro_batch, seed: 9 }).unwrap()
    }

    proptest! {
        #[test]
        fn an_epoch_has_every_example_once(
            lengths in prop::collection::vec(1..=50_u32, 1..2500), packed: bool, micro_batch in 1..5_usize, epoch in 0..3_u64,
        ) {
            let packing = if packed { Packing::BestFit { tokens_max: 64 } } else { Packing::Off };
            let plan = plan(&lengths, packing, micro_batch);
            let batches: Vec<Vec<usize>> = plan.epoch(epoch).collect();
            prop_assert_eq!(batches.len() as u64, plan.micro_steps(epoch));
            for batch in &batches {
                let tokens: u32 = batch.iter().map(|index| lengths[*index]).sum();
                prop_assert!(tokens > 0 && (!packed || tokens <= 64 * micro_batch as u32));
                prop_assert!(packed || batch.len() <= micro_batch);
            }
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..lengths.len()));
        }
    }

    #[test]
    fn a_place_goes_on_as_if_nothing_had_been() {
        let lengths: Vec<u32> = (0..2300).map(|at| at % 37 + 1).collect();
        for packing in [Packing::Off, Packing::BestFit { tokens_max: 100 }] {
            let plan = plan(&lengths, packing, 3);
            let all: Vec<_> =
                plan.from(DataPosition::default()).take(2 * plan.micro_steps(0) as usize).collect();
            for at in [0, 1, 7, plan.micro_steps(0) as usize, all.len() - 1] {
                let resumed: Vec<_> = plan.from(all[at].0).take(all.len() - at).collect();
                assert_eq!(resumed, all[at..], "{packing:?} from {at}");
            }
            let behind = DataPosition { epoch: 0, micro_step: plan.micro_steps(0) };
            assert_eq!(plan.from(behind).next().unwrap().0, DataPosition { epoch: 1, micro_step: 0 });
        }
    }

    #[test]
    fn the_longest_batch_is_found() {
        let lengths: Vec<u32> = (1..=40).collect();
        let alone = plan(&lengths, Packing::Off, 1);
        assert_eq!(alone.longest_first(), [39]);
        let packed = plan(&lengths, Packing::BestFit { tokens_max: 40 }, 1);
        // 40 alone has the tokens of other full bins and the most work.
        assert_eq!(packed.longest_first(), [39]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let check = |lengths: &[u32], tokens_max: u32, micro_batch: usize, part: &str| {
            let options = BatchOptions { packing: Packing::BestFit { tokens_max }, micro_batch, seed: 0 };
            let error = BatchPlan::new(lengths.to_vec(), options).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&[5, 11], 10, 1, "`packing` has bins of 10 tokens, an example has 11");
        check(&[5], 10, 0, "`micro_batch` is 0");
        check(&[], 10, 1, "nothing to train on");
    }
}
