//! The scheduler against a fake model whose KV cache remembers which token every slot holds. A token is drawn
//! from a hash of what the sequence's own blocks contain, so any mistake in tables, copies, reuse or eviction
//! changes the output.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::block_pool::BLOCK_SIZE;
use super::*;

/// One slot a token; `None` is uninitialised memory.
struct FakeModel {
    slots: Vec<[Option<u32>; BLOCK_SIZE]>,
}

impl FakeModel {
    fn new(num_blocks: usize) -> Self {
        Self { slots: vec![[None; BLOCK_SIZE]; num_blocks] }
    }

    fn forward(&mut self, step: &Step) -> Vec<Vec<u32>> {
        for copy in &step.copies {
            self.slots[copy.to as usize] = self.slots[copy.from as usize];
        }
        for scheduled in &step.scheduled {
            for (offset, &id) in scheduled.ids.iter().enumerate() {
                let position = scheduled.start + offset;
                let block = scheduled.block_table[position / BLOCK_SIZE];
                self.slots[block as usize][position % BLOCK_SIZE] = Some(id);
            }
        }
        step.scheduled.iter().map(|scheduled| self.sample(scheduled)).collect()
    }

    /// A token a choice, then one for each draft as long as they are right.
    fn sample(&self, scheduled: &Scheduled) -> Vec<u32> {
        let seen: Vec<u32> = (0..scheduled.start + scheduled.ids.len())
            .map(|position| {
                let block = scheduled.block_table[position / BLOCK_SIZE] as usize;
                self.slots[block][position % BLOCK_SIZE].expect("a slot is written before it is read")
            })
            .collect();
        let (known, drafts) = seen.split_at(seen.len() - scheduled.drafts);
        let mut tokens: Vec<u32> =
            scheduled.choices.iter().map(|&choice| next_token(known, choice)).collect();
        for (at, draft) in drafts.iter().enumerate() {
            if tokens.last() != Some(draft) {
                break;
            }
            tokens.push(next_token(&seen[..=known.len() + at], scheduled.choices[0]));
        }
        tokens
    }
}

/// Three times of four what stood five tokens earlier, so that guessing pays; but which times depends on everything.
fn next_token(seen: &[u32], choice: u32) -> u32 {
    let hash = seen.iter().fold(0x811c_9dc5_u32 ^ choice, |hash, id| (hash ^ id).wrapping_mul(0x0100_0193));
    match seen.len().checked_sub(5) {
        Some(earlier) if (hash >> 9) % 4 > 0 && seen[earlier] > 3 => seen[earlier],
        _ => (hash >> 7) % 50,
    }
}

/// What a choice must come to, however it was scheduled.
fn expected_output(prompt: &[u32], choice: u32, rules: &StopRules) -> Vec<u32> {
    let mut sequence = Sequence::new(prompt.to_vec(), BlockKey::root(0, None));
    while rules.finished(&sequence).is_none() {
        sequence.tokens.push(next_token(&sequence.tokens, choice));
    }
    sequence.output().to_vec()
}

fn config(num_blocks: usize) -> SchedulerConfig {
    SchedulerConfig {
        num_blocks,
        max_num_seqs: 8,
        max_batch_tokens: 64,
        max_prompt_logit_rows: 16,
        enable_prefix_caching: true,
        speculation: true,
        draft_row_cost: None,
    }
}

fn group(ticket: u64, prompt: Vec<u32>, n: u32, max_tokens: usize) -> NewGroup {
    let rules =
        StopRules { eos_token_ids: vec![3], stop_token_ids: vec![], max_tokens, max_model_len: usize::MAX };
    NewGroup {
        soft: None,
        ticket,
        priority: 0,
        prompt,
        n,
        rules,
        prompt_logprobs: false,
        cache_root: BlockKey::root(0, None),
    }
}

/// A group that ends by length alone.
fn endless(ticket: u64, prompt: Vec<u32>, n: u32, max_tokens: usize) -> NewGroup {
    let new = group(ticket, prompt, n, max_tokens);
    NewGroup { rules: StopRules { eos_token_ids: vec![], ..new.rules }, ..new }
}

struct Run {
    scheduler: Scheduler,
    model: FakeModel,
    outputs: BTreeMap<(u64, u32), Vec<u32>>,
    preempted: usize,
    computed: usize,
    drafted: usize,
    accepted: usize,
}

impl Run {
    fn new(config: SchedulerConfig) -> Self {
        let model = FakeModel::new(config.num_blocks);
        let scheduler = Scheduler::new(config);
        Self {
            scheduler,
            model,
            outputs: BTreeMap::new(),
            preempted: 0,
            computed: 0,
            drafted: 0,
            accepted: 0,
        }
    }

    fn step(&mut self) -> Step {
        let step = self.scheduler.schedule();
        self.scheduler.check_integrity().unwrap();
        assert!(self.scheduler.is_idle() || !step.scheduled.is_empty(), "no progress");
        let sampled = self.model.forward(&step);
        for progress in self.scheduler.update(&step, &sampled) {
            self.outputs.entry((progress.ticket, progress.choice)).or_default().push(progress.token);
        }
        self.scheduler.check_integrity().unwrap();
        self.preempted += step.preempted;
        for (scheduled, tokens) in step.scheduled.iter().zip(&sampled) {
            self.computed += scheduled.ids.len();
            self.drafted += scheduled.drafts;
            self.accepted += if scheduled.drafts > 0 { tokens.len() - 1 } else { 0 };
        }
        step
    }

    fn finish(&mut self) {
        for _ in 0..20_000 {
            if self.scheduler.is_idle() {
                assert_eq!(self.scheduler.blocks_in_use(), 0);
                return;
            }
            self.step();
        }
        panic!("the requests did not finish");
    }
}

#[derive(Debug, Clone)]
struct Arrival {
    at_step: usize,
    prompt: Vec<u32>,
    n: u32,
    max_tokens: usize,
    priority: i32,
    prompt_logprobs: bool,
    cancel_at: Option<(usize, Option<u32>)>,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    // Few distinct tokens and a common start, so that prefixes are shared.
    let prompt = (0_usize..120, prop::collection::vec(0_u32..2, 1..60))
        .prop_map(|(shared, tail)| vec![1; shared].into_iter().chain(tail).collect());
    let cancel = prop::option::weighted(0.2, (0_usize..40, prop::option::of(0_u32..6)));
    (0_usize..30, prompt, 1_u32..6, 1_usize..50, -1_i32..2, prop::bool::weighted(0.2), cancel).prop_map(
        |(at_step, prompt, n, max_tokens, priority, prompt_logprobs, cancel_at)| Arrival {
            at_step,
            prompt,
            n,
            max_tokens,
            priority,
            prompt_logprobs,
            cancel_at,
        },
    )
}

fn run_arrivals(arrivals: &[Arrival], config: SchedulerConfig) -> Run {
    let mut run = Run::new(config);
    for step in 0..80 {
        for (ticket, arrival) in (0_u64..).zip(arrivals) {
            if arrival.at_step == step {
                let new = group(ticket, arrival.prompt.clone(), arrival.n, arrival.max_tokens);
                let (priority, prompt_logprobs) = (arrival.priority, arrival.prompt_logprobs);
                run.scheduler.add(NewGroup { priority, prompt_logprobs, ..new });
            }
            match arrival.cancel_at {
                Some((after, None)) if arrival.at_step + after == step => run.scheduler.remove(ticket),
                Some((after, Some(choice))) if arrival.at_step + after == step => {
                    run.scheduler.finish_choice(SequenceKey { priority: arrival.priority, ticket, choice });
                }
                _ => {}
            }
        }
        run.step();
    }
    run.finish();
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_request_completes_as_if_alone(
        arrivals in prop::collection::vec(arrival(), 1..12),
        // 229 tokens at most in one sequence: 8 blocks hold any.
        num_blocks in 8_usize..60,
        max_num_seqs in 1_usize..10,
        max_batch_tokens in 1_usize..200,
        enable_prefix_caching: bool,
        speculation: bool,
    ) {
        let config = SchedulerConfig {
            num_blocks,
            max_num_seqs,
            max_batch_tokens,
            max_prompt_logit_rows: 7,
            enable_prefix_caching,
            speculation,
            draft_row_cost: None,
        };
        let run = run_arrivals(&arrivals, config);
        for (ticket, arrival) in (0_u64..).zip(&arrivals) {
            let rules = group(0, vec![], 1, arrival.max_tokens).rules;
            for choice in 0..arrival.n {
                let output = run.outputs.get(&(ticket, choice)).cloned().unwrap_or_default();
                let expected = expected_output(&arrival.prompt, choice, &rules);
                let cancelled = arrival.cancel_at.is_some_and(|(_, one)| one.is_none_or(|one| one == choice));
                prop_assert!(expected.starts_with(&output), "{ticket}.{choice}: {output:?}");
                prop_assert!(cancelled || output == expected, "{ticket}.{choice}: {output:?}");
            }
        }
    }
}

#[test]
fn choices_share_the_prompt_and_pay_for_it_once() {
    let mut run = Run::new(SchedulerConfig { max_batch_tokens: 512, ..config(100) });
    run.scheduler.add(group(0, (100..300).collect(), 8, 10));
    let first = run.step();
    assert_eq!((first.scheduled.len(), first.scheduled[0].choices.len()), (1, 8));
    assert_eq!(run.scheduler.blocks_in_use(), 7);
    let second = run.step();
    // Seven choices copy the partial block, the last holder writes in place.
    assert_eq!((second.scheduled.len(), second.copies.len()), (8, 7));
    run.finish();
    let outputs: usize = run.outputs.values().map(Vec::len).sum();
    assert_eq!(run.computed, 200 + outputs - 8 + run.drafted - run.accepted);
}

#[test]
fn decoding_is_never_starved_by_a_prefill() {
    let mut run = Run::new(config(100));
    run.scheduler.add(endless(0, vec![9; 8], 1, 500));
    run.step();
    run.scheduler.add(NewGroup { priority: -1, ..group(1, vec![8; 1000], 1, 5) });
    for _ in 0..10 {
        let step = run.step();
        assert_eq!(step.scheduled[0].key.ticket, 0);
        assert_eq!(step.scheduled[1].ids.len(), 63);
    }
}

#[test]
fn priority_goes_before_arrival() {
    let mut run = Run::new(SchedulerConfig { max_num_seqs: 1, ..config(100) });
    for (ticket, priority) in [(0, 0), (1, 0), (2, -5)] {
        run.scheduler.add(NewGroup { priority, ..group(ticket, vec![9; 8], 1, 1) });
    }
    let order: Vec<u64> = (0..3).map(|_| run.step().scheduled[0].key.ticket).collect();
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn the_last_in_the_order_is_preempted_and_recomputed() {
    let mut run = Run::new(config(4));
    run.scheduler.add(endless(0, vec![9; 30], 1, 60));
    run.scheduler.add(endless(1, vec![8; 30], 1, 60));
    run.finish();
    assert!(run.preempted > 0);
    for (ticket, token) in [(0, 9), (1, 8)] {
        let expected = expected_output(&[token; 30], 0, &endless(0, vec![], 1, 60).rules);
        assert_eq!(run.outputs[&(ticket, 0)], expected);
    }
}

#[test]
fn what_is_preempted_after_a_change_of_weights_shares_nothing_with_the_old() {
    let (old, new) = (BlockKey::root(0, None), BlockKey::root(1, None));
    let mut run = Run::new(SchedulerConfig { speculation: false, ..config(6) });
    run.scheduler.add(endless(0, vec![9; 30], 1, 60));
    run.scheduler.add(endless(1, vec![8; 70], 1, 60));
    // Two steps for both prompts, whose blocks are named after the old weights.
    run.step();
    run.step();
    run.scheduler.rename(|_| Some(new));
    let cached = |run: &Run, ticket| {
        run.scheduler.sequence(SequenceKey { priority: 0, ticket, choice: 0 }).map(|of| of.num_cached)
    };
    while !run.scheduler.is_idle() {
        run.step();
        assert!(cached(&run, 1).is_none_or(|tokens| tokens == 0));
    }
    assert!(run.preempted > 0);
    // The second was computed anew, and named so.
    let whole = [vec![8; 70], run.outputs[&(1, 0)].clone()].concat();
    for (ticket, cache_root, least, most) in [(2, new, 128, 128), (3, old, 0, 64)] {
        run.scheduler.add(NewGroup { cache_root, ..endless(ticket, whole.clone(), 1, 5) });
        run.step();
        let tokens = cached(&run, ticket).unwrap();
        assert!((least..=most).contains(&tokens), "{ticket}: {tokens}");
        run.finish();
    }
}

#[test]
fn more_choices_than_seats_or_blocks_take_turns() {
    let mut run = Run::new(SchedulerConfig { max_num_seqs: 3, enable_prefix_caching: false, ..config(4) });
    run.scheduler.add(endless(0, vec![9; 40], 20, 60));
    run.finish();
    assert_eq!(run.outputs.len(), 20);
}

#[test]
fn a_second_turn_reuses_the_first() {
    let mut run = Run::new(config(100));
    run.scheduler.add(group(0, (100..200).collect(), 1, 4));
    run.finish();
    let before = run.computed;
    run.scheduler.add(group(1, (100..200).collect(), 1, 1));
    run.finish();
    assert_eq!(run.computed - before, 4);
    let counters = run.scheduler.cache_counters();
    assert_eq!((counters.queries, counters.hits), (200, 96));
    run.scheduler.reset_prefix_cache();
    let before = run.computed;
    run.scheduler.add(group(2, (100..200).collect(), 1, 1));
    run.finish();
    assert_eq!(run.computed - before, 100);
}

#[test]
fn prompt_logprobs_compute_every_prompt_row_in_small_chunks() {
    let mut run = Run::new(config(100));
    run.scheduler.add(group(0, (100..200).collect(), 1, 1));
    run.finish();
    run.scheduler.add(NewGroup { prompt_logprobs: true, ..group(1, (100..200).collect(), 2, 3) });
    let mut rows = 0;
    while !run.scheduler.is_idle() {
        for scheduled in run.step().scheduled.iter().filter(|scheduled| scheduled.prompt_logprobs) {
            assert!(scheduled.ids.len() <= 16);
            rows += scheduled.ids.len();
        }
    }
    assert_eq!(rows, 100);
}

#[test]
fn cancelling_frees_the_blocks_at_once() {
    let mut run = Run::new(config(100));
    run.scheduler.add(group(0, vec![9; 50], 4, 60));
    for _ in 0..3 {
        run.step();
    }
    assert!(run.scheduler.blocks_in_use() > 0);
    run.scheduler.remove(0);
    assert_eq!(run.scheduler.blocks_in_use(), 0);
    assert!(run.scheduler.is_idle());
}

/// The whole life of a group alone, and what it must have come to.
fn run_alone(new: NewGroup, config: SchedulerConfig) -> Run {
    let expected = expected_output(&new.prompt, 0, &new.rules);
    let mut run = Run::new(config);
    run.scheduler.add(new);
    run.finish();
    assert_eq!(run.outputs[&(0, 0)], expected);
    run
}

/// A prompt whose continuation is drafted from the first step on.
fn repetitive() -> Vec<u32> {
    (0..40).map(|at| 10 + at % 5).collect()
}

#[test]
fn right_drafts_are_gained_and_wrong_ones_cost_a_row() {
    let run = run_alone(endless(0, repetitive(), 1, 200), config(100));
    assert!(run.accepted > 50, "{} of {}", run.accepted, run.drafted);
    assert!(run.drafted > run.accepted, "nothing was wrong");
    assert_eq!(run.computed, 40 + 199 + run.drafted - run.accepted);
    let off = SchedulerConfig { speculation: false, ..config(100) };
    assert_eq!(run_alone(endless(0, repetitive(), 1, 200), off).drafted, 0);
}

#[test]
fn drafts_stay_within_the_rules() {
    for max_tokens in 1..30 {
        let mut by_length = endless(0, repetitive(), 1, 1000);
        by_length.rules.max_model_len = 40 + max_tokens;
        for new in [endless(0, repetitive(), 1, max_tokens), by_length] {
            let expected = expected_output(&new.prompt, 0, &new.rules);
            let mut run = Run::new(config(100));
            run.scheduler.add(new);
            while !run.scheduler.is_idle() {
                for scheduled in &run.step().scheduled {
                    // The last token of a choice is never computed.
                    assert!(scheduled.start + scheduled.ids.len() < 40 + max_tokens, "{scheduled:?}");
                }
            }
            assert_eq!(run.outputs[&(0, 0)], expected);
        }
    }
}

#[test]
fn no_draft_ends_a_choice() {
    for ending in 10..15 {
        let mut new = endless(0, repetitive(), 1, 300);
        new.rules.stop_token_ids = vec![ending];
        let mut run = Run::new(config(100));
        run.scheduler.add(new);
        while !run.scheduler.is_idle() {
            let step = run.step();
            assert!(step.scheduled.iter().all(|of| !of.ids[of.ids.len() - of.drafts..].contains(&ending)));
        }
        let mut rules = endless(0, vec![], 1, 300).rules;
        rules.stop_token_ids = vec![ending];
        assert_eq!(run.outputs[&(0, 0)], expected_output(&repetitive(), 0, &rules));
    }
}

/// 40 + 56 tokens lie in exactly three blocks; with the block of the watermark there is never one for a draft.
#[test]
fn drafts_take_no_block_that_others_may_need() {
    for (num_blocks, free_in_need) in [(3, 1), (4, 1), (5, 1)] {
        let mut run = Run::new(config(num_blocks));
        run.scheduler.add(endless(0, repetitive(), 1, 56));
        while !run.scheduler.is_idle() {
            let step = run.step();
            let [scheduled] = &step.scheduled[..] else { panic!("{step:?}") };
            let plain = (scheduled.start + 1).div_ceil(BLOCK_SIZE);
            let taken = scheduled.block_table.len();
            assert!(taken == plain || taken + free_in_need <= num_blocks, "{taken} of {num_blocks}");
            assert!(run.scheduler.blocks_in_use() <= plain + 1);
        }
        assert!(run.accepted > 0 && run.preempted == 0);
    }
}

#[test]
fn sequences_share_the_rows_and_many_leave_none() {
    let check = |sequences: u64, expected: std::ops::RangeInclusive<usize>| {
        let mut run = Run::new(config(100));
        for ticket in 0..sequences {
            run.scheduler.add(endless(ticket, repetitive(), 1, 100));
        }
        let mut largest = 0;
        while run.outputs.len() < sequences as usize || run.outputs.values().all(|output| output.len() < 80) {
            let step = run.step();
            let drafts = || step.scheduled.iter().map(|of| of.drafts);
            assert!(drafts().sum::<usize>() == 0 || drafts().sum::<usize>() + step.scheduled.len() <= 8);
            largest = largest.max(drafts().max().unwrap_or(0));
        }
        assert!(expected.contains(&largest), "{sequences} sequences: {largest}");
        run.finish();
    };
    check(1, 6..=6);
    // More than an even share goes to a sequence whose neighbours have given up.
    check(2, 3..=5);
    check(4, 1..=4);
    check(5, 0..=0);
}

#[test]
fn nothing_is_drafted_beside_a_prefill() {
    let mut run = Run::new(config(100));
    run.scheduler.add(endless(0, repetitive(), 1, 100));
    run.step();
    run.scheduler.add(endless(1, vec![9; 640], 1, 5));
    for _ in 0..10 {
        assert_eq!(run.step().scheduled.iter().map(|of| of.drafts).sum::<usize>(), 0);
    }
}

/// Plain and speculative runs leave the same names behind: a second turn finds as much of the first.
#[test]
fn the_prefix_cache_holds_accepted_tokens_alone() {
    let hits = |speculation| {
        let mut run =
            run_alone(endless(0, repetitive(), 1, 120), SchedulerConfig { speculation, ..config(100) });
        let turn = [repetitive(), run.outputs[&(0, 0)].clone(), vec![5; 10]].concat();
        let expected = expected_output(&turn, 0, &endless(1, vec![], 1, 20).rules);
        run.scheduler.add(endless(1, turn, 1, 20));
        run.finish();
        assert_eq!(run.outputs[&(1, 0)], expected);
        run.scheduler.cache_counters().hits
    };
    assert_eq!((hits(true), hits(false)), (128, 128));
}

#[test]
fn speculation_goes_on_after_a_preemption() {
    let mut run = Run::new(config(7));
    for ticket in 0..2 {
        run.scheduler.add(endless(ticket, repetitive(), 1, 120));
    }
    run.finish();
    assert!(run.preempted > 0 && run.accepted > 0);
    let expected = expected_output(&repetitive(), 0, &endless(0, vec![], 1, 120).rules);
    assert!(run.outputs.values().all(|output| *output == expected));
}
