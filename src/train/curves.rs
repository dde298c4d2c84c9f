//! The metrics of a training as columns, thinned for curves: lines that follow each other are one point, with the mean of each metric.
//! How many are one is a power of two that grows as lines come, so that a log of any length is read once and little is held.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::metrics::FILE;
use super::step_lines::StepLines;

/// Metrics of updates, and of evaluations, which have steps of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    pub updates: Curve,
    pub evaluations: Curve,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    points_max: usize,
    /// Lines of one point.
    pub lines_per_point: u64,
    points: Vec<Point>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Point {
    /// Of the last line.
    step: u64,
    lines: u64,
    /// Sum and number of each metric's values.
    sums: BTreeMap<String, (f64, u64)>,
}

/// Where a training is: the last value stands for all.
const LAST: [&str; 3] = ["epoch", "num_tokens", "learning_rate"];

/// Names of metrics; more are left out.
const SERIES_MAX: usize = 256;

impl Curves {
    pub fn new(points_max: usize) -> Self {
        Self { updates: Curve::new(points_max), evaluations: Curve::new(points_max) }
    }

    /// What `metrics.jsonl` has of steps behind this one; `None` where there is none.
    ///
    /// # Errors
    /// Of the disk.
    pub fn read(folder: &Path, after_step: Option<u64>, points_max: usize) -> io::Result<Option<Self>> {
        let Some(mut lines) = StepLines::open(&folder.join(FILE))? else { return Ok(None) };
        if let Some(step) = after_step {
            lines.seek(step.saturating_add(1))?;
        }
        let mut curves = Self::new(points_max);
        while let Some(line) = lines.next_line()? {
            if let Ok(line) = serde_json::from_slice(line) {
                curves.add(&line);
            }
        }
        Ok(Some(curves))
    }

    /// One line of metrics.
    pub fn add(&mut self, line: &Value) {
        let (Some(step), Some(fields)) = (line["step"].as_u64(), line.as_object()) else { return };
        let is_evaluation = fields.keys().any(|name| name.starts_with("eval_"));
        let curve = if is_evaluation { &mut self.evaluations } else { &mut self.updates };
        let numbers = fields.iter().filter(|(name, _)| *name != "step");
        curve.add(step, numbers.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?))));
    }
}

impl Curve {
    fn new(points_max: usize) -> Self {
        Self { points_max: points_max.max(2), lines_per_point: 1, points: Vec::new() }
    }

    fn add<'a>(&mut self, step: u64, numbers: impl Iterator<Item = (&'a str, f64)>) {
        if self.points.last().is_none_or(|point| point.lines >= self.lines_per_point) {
            if self.points.len() >= self.points_max {
                self.halve();
            }
            // Halving may have left room in the last point.
            if self.points.last().is_none_or(|point| point.lines >= self.lines_per_point) {
                self.points.push(Point::default());
            }
        }
        let Some(point) = self.points.last_mut() else { return };
        point.step = step;
        point.lines += 1;
        for (name, value) in numbers {
            let has_room = point.sums.len() < SERIES_MAX;
            match point.sums.get_mut(name) {
                Some(sum) if LAST.contains(&name) => *sum = (value, 1),
                Some(sum) => *sum = (sum.0 + value, sum.1 + 1),
                None if has_room => {
                    point.sums.insert(name.to_owned(), (value, 1));
                }
                None => {}
            }
        }
    }

    /// Two points become one.
    fn halve(&mut self) {
        self.lines_per_point *= 2;
        let mut halved: Vec<Point> = Vec::with_capacity(self.points.len() / 2 + 1);
        for (at, point) in std::mem::take(&mut self.points).into_iter().enumerate() {
            match halved.last_mut() {
                Some(before) if at % 2 == 1 => before.take_in(point),
                _ => halved.push(point),
            }
        }
        self.points = halved;
    }

    pub fn steps(&self) -> Vec<u64> {
        self.points.iter().map(|point| point.step).collect()
    }

    /// A value a point of each metric; `None` where none of its lines has one.
    pub fn series(&self) -> BTreeMap<String, Vec<Option<f64>>> {
        let names = self.points.iter().flat_map(|point| point.sums.keys());
        let mut series: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for name in names {
            if series.len() < SERIES_MAX && !series.contains_key(name) {
                series.insert(name.clone(), Vec::with_capacity(self.points.len()));
            }
        }
        for (name, values) in &mut series {
            let mean = |(sum, count): &(f64, u64)| sum / *count as f64;
            values.extend(self.points.iter().map(|point| point.sums.get(name).map(mean)));
        }
        series
    }
}

impl Point {
    fn take_in(&mut self, next: Self) {
        self.step = next.step;
        self.lines += next.lines;
        for (name, (sum, count)) in next.sums {
            let is_last = LAST.contains(&name.as_str());
            let known = self.sums.entry(name).or_default();
            *known = if is_last { (sum, count) } else { (known.0 + sum, known.1 + count) };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_logs_are_thinned_to_means() {
        let check = |lines: u64, lines_per_point: u64, steps: &[u64], losses: &[f64]| {
            let mut curves = Curves::new(4);
            for step in 1..=lines {
                curves.add(&json!({"step": step, "loss": step as f64, "num_tokens": step * 10, "note": "x"}));
            }
            let curve = &curves.updates;
            assert_eq!((curve.lines_per_point, curve.steps()), (lines_per_point, steps.to_vec()));
            let series = curve.series();
            assert_eq!(series["loss"], losses.iter().map(|loss| Some(*loss)).collect::<Vec<_>>());
            let tokens: Vec<_> = steps.iter().map(|step| Some((step * 10) as f64)).collect();
            assert_eq!((&series["num_tokens"], series.len()), (&tokens, 2));
        };
        check(3, 1, &[1, 2, 3], &[1.0, 2.0, 3.0]);
        check(4, 1, &[1, 2, 3, 4], &[1.0, 2.0, 3.0, 4.0]);
        check(5, 2, &[2, 4, 5], &[1.5, 3.5, 5.0]);
        check(8, 2, &[2, 4, 6, 8], &[1.5, 3.5, 5.5, 7.5]);
        check(9, 4, &[4, 8, 9], &[2.5, 6.5, 9.0]);
    }

    #[test]
    fn evaluations_are_a_curve_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Curves::read(folder.path(), None, 9).unwrap().is_none());
        let lines = concat!(
            "{\"step\":0,\"eval_loss\":4.0}\n",
            "{\"step\":1,\"loss\":3.0,\"reward\":0.5}\n",
            "{\"step\":2,\"loss\":2.0}\n",
            "{\"step\":2,\"eval_loss\":2.5}\n",
            "{\"step\":3,\"lo",
        );
        std::fs::write(folder.path().join(FILE), lines).unwrap();
        let curves = Curves::read(folder.path(), None, 9).unwrap().unwrap();
        assert_eq!((curves.updates.steps(), curves.evaluations.steps()), (vec![1, 2], vec![0, 2]));
        assert_eq!(curves.updates.series()["reward"], [Some(0.5), None]);
        let later = Curves::read(folder.path(), Some(1), 9).unwrap().unwrap();
        assert_eq!((later.updates.steps(), later.evaluations.steps()), (vec![2], vec![2]));
    }
}
