//! /metrics: what dashboards made for vLLM look for, under our prefix or theirs.
//!
//! Histograms and outcome counters are fed by the requests; gauges and token counters are read from each
//! engine's own statistics when scraped. A model's name becomes a label only once the registry knows it, and
//! its series go with it: requests that outlive their model write to series that nobody reads any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::key_metrics::key_series;
use super::keys::HeldKey;
use super::process_metrics::memory_series;
use crate::engine::EngineHandle;
use crate::registry::ServedModel;

const MODEL: &str = "model_name";

const SECONDS_TO_FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0,
];
const SECONDS_BETWEEN_TOKENS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const SECONDS_OF_A_REQUEST: &[f64] = &[
    0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 960.0,
    3840.0,
];

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The prefix makes a name that Prometheus does not take.
    #[error("--metrics-prefix {prefix:?} makes no metric name: use letters, digits, `_` and `:` ({source})")]
    Prefix { prefix: String, source: prometheus::Error },
}

pub struct Metrics {
    prefix: String,
    registry: Registry,
    time_to_first_token: HistogramVec,
    inter_token_latency: HistogramVec,
    request_latency: HistogramVec,
    queue_time: HistogramVec,
    requests: IntCounterVec,
    /// Models out of service that may still have requests. A model may have the name of one of these.
    retired: Mutex<Vec<Weak<ServedModel>>>,
}

impl Metrics {
    /// # Errors
    /// A prefix that no metric name may start with.
    pub fn new(prefix: &str) -> Result<Self, MetricsError> {
        Self::build(prefix).map_err(|source| MetricsError::Prefix { prefix: prefix.to_owned(), source })
    }

    fn build(prefix: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(format!("{prefix}{name}"), help).buckets(buckets.to_vec());
            let vector = HistogramVec::new(options, &[MODEL])?;
            registry.register(Box::new(vector.clone()))?;
            Ok::<_, prometheus::Error>(vector)
        };
        let first = "Seconds from a prompt's arrival to its first token.";
        let between = "Seconds between two tokens of a choice.";
        let whole = "Seconds from a prompt's arrival to its last token.";
        let queue = "Seconds a prompt waited before it was scheduled.";
        let requests = IntCounterVec::new(
            Opts::new(format!("{prefix}request_success_total"), "Choices that ended, by how."),
            &[MODEL, "finished_reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            prefix: prefix.to_owned(),
            time_to_first_token: histogram("time_to_first_token_seconds", first, SECONDS_TO_FIRST_TOKEN)?,
            inter_token_latency: histogram("inter_token_latency_seconds", between, SECONDS_BETWEEN_TOKENS)?,
            request_latency: histogram("e2e_request_latency_seconds", whole, SECONDS_OF_A_REQUEST)?,
            queue_time: histogram("request_queue_time_seconds", queue, SECONDS_OF_A_REQUEST)?,
            requests,
            registry,
            retired: Mutex::default(),
        })
    }

    /// The text Prometheus reads; `models` leaves out the series of others.
    ///
    /// # Errors
    /// An internal error of the encoder.
    pub fn scrape<'a>(
        &self,
        engines: impl Iterator<Item = (&'a str, &'a EngineHandle)>,
        keys: &[Arc<HeldKey>],
        models: Option<&[String]>,
    ) -> Result<String, prometheus::Error> {
        let now = EngineSeries::new(&self.prefix)?;
        for (model, engine) in engines {
            now.read(model, engine);
        }
        let mut families = self.registry.gather();
        families.extend(now.registry.gather());
        families.extend(key_series(&self.prefix, keys)?);
        families.extend(memory_series(&self.prefix)?);
        if let Some(models) = models {
            for family in &mut families {
                retain_models(family, models);
            }
            families.retain(|family| !family.get_metric().is_empty());
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Drop the series of a model that is no longer served, and make it no new ones. To be called before another
    /// model can have done work under the same name.
    pub fn forget(&self, model: &Arc<ServedModel>) {
        // Held to the end, so that no request starts a series between the two steps.
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|gone| gone.strong_count() > 0);
        retired.push(Arc::downgrade(model));
        let model = &*model.name;
        let histograms =
            [&self.time_to_first_token, &self.inter_token_latency, &self.request_latency, &self.queue_time];
        for histogram in histograms {
            // An error says that the model had no series, which is what is wanted.
            let _ = histogram.remove_label_values(&[model]);
        }
        for reason in FINISHED_REASONS {
            let _ = self.requests.remove_label_values(&[model, reason]);
        }
    }

    /// `None` for a model that was taken out of service.
    fn series(&self, model: &Arc<ServedModel>) -> Option<Series> {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if retired.iter().any(|gone| gone.as_ptr() == Arc::as_ptr(model)) {
            return None;
        }
        let model = &*model.name;
        let ended = |reason: &str| self.requests.with_label_values(&[model, reason]);
        Some(Series {
            time_to_first_token: self.time_to_first_token.with_label_values(&[model]),
            inter_token_latency: self.inter_token_latency.with_label_values(&[model]),
            request_latency: self.request_latency.with_label_values(&[model]),
            queue_time: self.queue_time.with_label_values(&[model]),
            ended: FINISHED_REASONS.map(ended),
        })
    }
}

/// One model's series, looked up once a prompt. They can be written to after [`Metrics::forget`] has dropped them,
/// which looking them up by name again would undo.
struct Series {
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    request_latency: Histogram,
    queue_time: Histogram,
    /// By reason, in the order of `FINISHED_REASONS`.
    ended: [IntCounter; FINISHED_REASONS.len()],
}

impl Series {
    fn ended(&self, reason: &str) -> Option<&IntCounter> {
        let counters = FINISHED_REASONS.iter().zip(&self.ended);
        counters.into_iter().find(|(known, _)| **known == reason).map(|(_, counter)| counter)
    }
}

pub const STOP: &str = "stop";
pub const LENGTH: &str = "length";
pub const ABORT: &str = "abort";
const FINISHED_REASONS: [&str; 3] = [STOP, LENGTH, ABORT];

/// What engines count themselves, copied at scrape time.
struct EngineSeries {
    registry: Registry,
    gauges: Vec<(IntGaugeVec, Read<i64>)>,
    counters: Vec<(IntCounterVec, Read<u64>)>,
    kv_cache_usage: prometheus::GaugeVec,
}

impl EngineSeries {
    fn new(prefix: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let mut gauges = Vec::new();
        for (name, help, read) in GAUGES {
            let vector = IntGaugeVec::new(Opts::new(format!("{prefix}{name}"), *help), &[MODEL])?;
            registry.register(Box::new(vector.clone()))?;
            gauges.push((vector, *read));
        }
        let mut counters = Vec::new();
        for (name, help, read) in COUNTERS {
            let vector = IntCounterVec::new(Opts::new(format!("{prefix}{name}"), *help), &[MODEL])?;
            registry.register(Box::new(vector.clone()))?;
            counters.push((vector, *read));
        }
        let usage = Opts::new(format!("{prefix}kv_cache_usage_perc"), "Share of KV blocks in use, 0 to 1.");
        let kv_cache_usage = prometheus::GaugeVec::new(usage, &[MODEL])?;
        registry.register(Box::new(kv_cache_usage.clone()))?;
        Ok(Self { registry, gauges, counters, kv_cache_usage })
    }

    fn read(&self, model: &str, engine: &EngineHandle) {
        for (vector, read) in &self.gauges {
            vector.with_label_values(&[model]).set(read(engine));
        }
        for (vector, read) in &self.counters {
            vector.with_label_values(&[model]).inc_by(read(engine));
        }
        let in_use = engine.stats().kv_blocks_in_use.load(Ordering::Relaxed) as f64;
        self.kv_cache_usage.with_label_values(&[model]).set(in_use / engine.info().num_blocks.max(1) as f64);
    }
}

type Read<T> = fn(&EngineHandle) -> T;
/// Name, help, reading.
type Gauge = (&'static str, &'static str, Read<i64>);
type Counter = (&'static str, &'static str, Read<u64>);

const GAUGES: &[Gauge] = &[
    ("num_requests_running", "Requests being computed.", |engine| {
        engine.stats().requests_running.load(Ordering::Relaxed) as i64
    }),
    ("num_requests_waiting", "Requests in the queue.", |engine| {
        engine.stats().requests_waiting.load(Ordering::Relaxed) as i64
    }),
    ("kv_blocks_in_use", "KV blocks held by live sequences.", |engine| {
        engine.stats().kv_blocks_in_use.load(Ordering::Relaxed) as i64
    }),
    ("kv_blocks", "KV blocks there are.", |engine| engine.info().num_blocks as i64),
    ("weight_version", "Counts the weight updates.", |engine| {
        engine.stats().weight_version.load(Ordering::Relaxed) as i64
    }),
];

const COUNTERS: &[Counter] = &[
    ("prompt_tokens_total", "Prompt tokens taken.", |engine| {
        engine.stats().prompt_tokens.load(Ordering::Relaxed)
    }),
    ("generation_tokens_total", "Tokens generated.", |engine| {
        engine.stats().generation_tokens.load(Ordering::Relaxed)
    }),
    ("num_preemptions_total", "Sequences put back to be computed again.", |engine| {
        engine.stats().preemptions.load(Ordering::Relaxed)
    }),
    ("spec_decode_num_draft_tokens_total", "Tokens guessed by speculation.", |engine| {
        engine.stats().draft_tokens.load(Ordering::Relaxed)
    }),
    ("spec_decode_num_accepted_tokens_total", "Guessed tokens that were right.", |engine| {
        engine.stats().accepted_draft_tokens.load(Ordering::Relaxed)
    }),
    ("prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", |engine| {
        engine.stats().prefix_cache_queries.load(Ordering::Relaxed)
    }),
    ("prefix_cache_hits_total", "Prompt tokens found there.", |engine| {
        engine.stats().prefix_cache_hits.load(Ordering::Relaxed)
    }),
    ("engine_steps_total", "Forward passes.", |engine| engine.stats().steps.load(Ordering::Relaxed)),
];

/// Times one prompt's choices. Choices that never end count as aborted when it is dropped.
pub struct Meter {
    series: Option<Series>,
    arrived: Instant,
    /// By choice: when its latest tokens came.
    latest: Vec<Option<Instant>>,
    seen_first: bool,
    running: u32,
}

impl Meter {
    pub fn start(metrics: &Metrics, model: &Arc<ServedModel>, choices: u32) -> Self {
        let latest = vec![None; choices as usize];
        let series = metrics.series(model);
        Self { series, arrived: Instant::now(), latest, seen_first: false, running: choices }
    }

    pub fn scheduled(&self, queued: Duration) {
        if let Some(series) = &self.series {
            series.queue_time.observe(queued.as_secs_f64());
        }
    }

    pub fn tokens(&mut self, choice: u32, count: usize) {
        let Some(series) = self.series.as_ref().filter(|_| count > 0) else { return };
        let now = Instant::now();
        if !self.seen_first {
            self.seen_first = true;
            let seconds = (now - self.arrived).as_secs_f64();
            series.time_to_first_token.observe(seconds);
        }
        let Some(latest) = self.latest.get_mut(choice as usize) else { return };
        if let Some(before) = latest.replace(now) {
            // Tokens whose text was held back arrive together; each counts with its share.
            let share = (now - before).as_secs_f64() / count as f64;
            (0..count).for_each(|_| series.inter_token_latency.observe(share));
        }
    }

    pub fn finished(&mut self, reason: &str) {
        self.running = self.running.saturating_sub(1);
        let Some(series) = &self.series else { return };
        if let Some(counter) = series.ended(reason) {
            counter.inc();
        }
        if self.running == 0 {
            series.request_latency.observe(self.arrived.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(aborted) = self.series.as_ref().and_then(|series| series.ended(ABORT)) {
            aborted.inc_by(u64::from(self.running));
        }
    }
}

/// Series of other models go; those of none stay.
fn retain_models(family: &mut MetricFamily, models: &[String]) {
    family.mut_metric().retain(|metric| {
        let model = metric.get_label().iter().find(|label| label.name() == MODEL);
        model.is_none_or(|label| models.iter().any(|model| model == label.value()))
    });
}

#[cfg(test)]
mod tests {
    use super::super::scripted_tests::model;
    use super::*;

    #[test]
    fn counts_under_either_prefix_and_forgets_a_model() {
        for prefix in ["xenoglot_", "vllm:"] {
            let metrics = Metrics::new(prefix).unwrap();
            let served = Arc::new(ServedModel { name: "m".to_owned(), ..model(Vec::new(), "") });
            let mut meter = Meter::start(&metrics, &served, 2);
            meter.scheduled(Duration::from_millis(3));
            meter.tokens(0, 1);
            meter.tokens(0, 2);
            meter.finished(STOP);
            drop(meter);
            served.handle.stats().draft_tokens.store(7, Ordering::Relaxed);
            served.handle.stats().accepted_draft_tokens.store(5, Ordering::Relaxed);
            let text = metrics.scrape(std::iter::once(("m", &served.handle)), &[], None).unwrap();
            for line in [
                "spec_decode_num_draft_tokens_total{model_name=\"m\"} 7",
                "spec_decode_num_accepted_tokens_total{model_name=\"m\"} 5",
                "request_success_total{finished_reason=\"stop\",model_name=\"m\"} 1",
                "request_success_total{finished_reason=\"abort\",model_name=\"m\"} 1",
                "time_to_first_token_seconds_count{model_name=\"m\"} 1",
                "inter_token_latency_seconds_count{model_name=\"m\"} 2",
                "request_queue_time_seconds_count{model_name=\"m\"} 1",
            ] {
                assert!(text.contains(&format!("{prefix}{line}\n")), "{prefix}{line} is not in\n{text}");
            }
            metrics.forget(&served);
            assert!(!metrics.scrape(std::iter::empty(), &[], None).unwrap().contains("\"m\""));
        }
    }

    #[test]
    fn a_request_that_outlives_its_model_leaves_no_trace_in_the_next_of_that_name() {
        let metrics = Metrics::new("xenoglot_").unwrap();
        let served = || Arc::new(ServedModel { name: "m".to_owned(), ..model(Vec::new(), "") });
        let (old, new) = (served(), served());
        let mut outliving = Meter::start(&metrics, &old, 3);
        metrics.forget(&old);
        let late = Meter::start(&metrics, &old, 3);
        let play = |meter: &mut Meter| {
            meter.scheduled(Duration::from_millis(3));
            meter.tokens(0, 1);
            meter.tokens(0, 1);
            meter.finished(STOP);
        };
        play(&mut outliving);
        drop((outliving, late));
        let text = metrics.scrape(std::iter::empty(), &[], None).unwrap();
        assert!(!text.contains("\"m\""), "{text}");
        play(&mut Meter::start(&metrics, &new, 1));
        let text = metrics.scrape(std::iter::empty(), &[], None).unwrap();
        assert!(text.contains("{finished_reason=\"stop\",model_name=\"m\"} 1\n"), "{text}");
        assert!(text.contains("{finished_reason=\"abort\",model_name=\"m\"} 0\n"), "{text}");
    }

    #[test]
    fn a_prefix_that_makes_no_name_is_refused() {
        assert!(Metrics::new("a b").is_err());
    }
}
