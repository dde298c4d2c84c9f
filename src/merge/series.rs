//! Several merges in one text, as mergekit-multi has them: documents between lines with `---`, all but one with a `name`
//! under which the others take its result as a model.
//!
//! Read and put in order here, and written one after the other. Departs from mergekit, which replaces every text that is such a
//! name, in whatever key: here references to models alone are meant. Draws of random methods go by the name.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::config::{ConfigError, MergeConfig, ModelReference, TokenSource, TokenizerSource, quoted};
use super::error::MergeError;
use super::execute::{Lock, beside, check_free, claim};
use super::inputs::{Locate, place_of, references};
use super::job::MergeJob;

/// The merges of a text, each behind those whose results it takes; the one without a name is the last.
#[derive(Debug)]
pub struct MergeSeries {
    pub merges: Vec<SeriesMerge>,
}

/// One of them.
#[derive(Debug)]
pub struct SeriesMerge {
    pub config: MergeConfig,
    /// The merges whose results it takes, by number.
    pub takes: Vec<usize>,
}

/// In bytes: it names a folder.
const NAME_BYTES_MAX: usize = 200;

impl MergeSeries {
    /// # Errors
    /// What is wrong with a configuration, two merges of a name or without one, merges that take each other's results.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let configs = MergeConfig::parse_all(text)?;
        if configs.len() < 2 {
            let merges = configs.into_iter().map(|config| SeriesMerge { config, takes: Vec::new() });
            return Ok(Self { merges: merges.collect() });
        }
        check_names(&configs)?;
        let named = |name: &str| configs.iter().position(|config| config.name.as_deref() == Some(name));
        let taken = |config: &MergeConfig| -> Vec<(usize, ModelReference)> {
            let all = all_references(config).into_iter();
            all.filter_map(|reference| Some((named(&reference.path)?, reference))).collect()
        };
        let takes: Vec<Vec<(usize, ModelReference)>> = configs.iter().map(taken).collect();
        for (config, (_, reference)) in configs
            .iter()
            .zip(&takes)
            .flat_map(|(config, takes)| takes.iter().map(move |taken| (config, taken)))
        {
            if reference.revision.is_some() {
                let what =
                    format!("{} is a merge of this file, which has no revisions", quoted(&reference.path));
                return Err(place_of(config, reference).conflict(what, "leave `@..` out"));
            }
        }
        let order = in_order(&configs, &takes)?;
        let place = |merge: &usize| order.iter().position(|other| other == merge).unwrap_or_default();
        let takes_of = |merge: usize| -> Vec<usize> {
            let mut takes: Vec<usize> = takes[merge].iter().map(|(taken, _)| place(taken)).collect();
            takes.sort_unstable();
            takes.dedup();
            takes
        };
        let mut configs: Vec<Option<MergeConfig>> = configs.into_iter().map(Some).collect();
        let merges = order.iter().filter_map(|merge| {
            Some(SeriesMerge { takes: takes_of(*merge), config: configs[*merge].take()? })
        });
        Ok(Self { merges: merges.collect() })
    }

    /// The names that have a result each.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.merges.iter().filter_map(|merge| merge.config.name.as_deref())
    }

    /// The folder of a name's result; `None` for what is no such name.
    pub fn find(&self, name: &str, folder: &Path) -> Option<PathBuf> {
        let is_several = self.merges.len() > 1;
        is_several.then(|| self.names().find(|known| *known == name)).flatten().map(|name| folder.join(name))
    }

    /// Finds results by name, and the rest as `locate` does.
    ///
    /// # Errors
    /// As `locate`, with the names that there are.
    pub fn locate(
        &self,
        path: &str,
        revision: Option<&str>,
        folder: &Path,
        locate: &Locate<'_>,
    ) -> Result<PathBuf, String> {
        match self.find(path, folder) {
            Some(result) => Ok(result),
            None if self.merges.len() < 2 => locate(path, revision),
            None => locate(path, revision).map_err(|problem| {
                let names: Vec<&str> = self.names().collect();
                format!("{problem} (the merges of this file are {})", names.join(", "))
            }),
        }
    }
}

/// One merge has no name, each other one of its own that can be a folder's.
fn check_names(configs: &[MergeConfig]) -> Result<(), ConfigError> {
    for (at, config) in configs.iter().enumerate() {
        let earlier = configs[..at].iter().find(|other| other.name == config.name);
        match (&config.name, earlier) {
            (Some(name), Some(other)) => {
                let what = format!("{} is the merge of line {} too", quoted(name), other.place("name").line);
                return Err(config.place("name").conflict(what, "give each a name of its own"));
            }
            (None, Some(other)) => {
                let place = config.place("merge_method");
                let what =
                    format!("this merge has no `name`, as that of line {}", other.place("merge_method").line);
                return Err(place.conflict(what, "name all but the one that the output is made of"));
            }
            (Some(name), None) if !is_folder_name(name) => {
                let what = format!("{} is no name of a folder", quoted(name));
                return Err(config.place("name").wrong(what, "write letters, digits and dashes"));
            }
            (_, None) => {}
        }
    }
    match configs.last() {
        Some(last) if configs.iter().all(|config| config.name.is_some()) => Err(last
            .place("name")
            .conflict("every merge has a name, and the output is the one that has none", "remove this one")),
        _ => Ok(()),
    }
}

/// `a`, or `a/b`: never out of the folder it is in, nor hidden.
fn is_folder_name(name: &str) -> bool {
    let is_plain = |part: Component<'_>| match part {
        Component::Normal(part) => !part.to_string_lossy().starts_with('.'),
        _ => false,
    };
    name.len() <= NAME_BYTES_MAX && !name.ends_with('/') && Path::new(name).components().all(is_plain)
}

/// Every model that a configuration names, in whatever key.
fn all_references(config: &MergeConfig) -> Vec<ModelReference> {
    let mut all = references(config);
    if let Some(tokenizer) = &config.tokenizer {
        if let TokenizerSource::Model(model) = &tokenizer.source {
            all.push(model.clone());
        }
        for (_, rule) in &tokenizer.tokens {
            match &rule.source {
                Some(TokenSource::Model(model) | TokenSource::ModelToken { model, .. }) => {
                    all.push(model.clone());
                }
                Some(TokenSource::Zero) | None => {}
            }
        }
    }
    all
}

/// The merges, each behind those it takes from, otherwise as they are written; the one without a name last.
fn in_order(
    configs: &[MergeConfig],
    takes: &[Vec<(usize, ModelReference)>],
) -> Result<Vec<usize>, ConfigError> {
    let mut order: Vec<usize> = Vec::with_capacity(configs.len());
    let (named, unnamed): (Vec<usize>, Vec<usize>) =
        (0..configs.len()).partition(|merge| configs[*merge].name.is_some());
    let mut waiting: Vec<usize> = named.into_iter().chain(unnamed).collect();
    while !waiting.is_empty() {
        let is_ready = |merge: &usize| takes[*merge].iter().all(|(taken, _)| order.contains(taken));
        let Some(at) = waiting.iter().position(is_ready) else {
            return Err(circle(configs, takes, &waiting));
        };
        order.push(waiting.remove(at));
    }
    Ok(order)
}

/// Follows what is taken until a merge comes up again.
fn circle(configs: &[MergeConfig], takes: &[Vec<(usize, ModelReference)>], waiting: &[usize]) -> ConfigError {
    let next = |merge: usize| takes[merge].iter().find(|(taken, _)| waiting.contains(taken));
    let mut path = vec![waiting[0]];
    while let Some((taken, _)) = next(path[path.len() - 1]) {
        if let Some(start) = path.iter().position(|merge| merge == taken) {
            path.drain(..start);
            break;
        }
        path.push(*taken);
    }
    let names: Vec<String> = path
        .iter()
        .chain(&path[..1])
        .map(|merge| quoted(configs[*merge].name.as_deref().unwrap_or_default()))
        .collect();
    let place = match next(path[0]) {
        Some((_, reference)) => place_of(&configs[path[0]], reference),
        None => configs[path[0]].place("name"),
    };
    place.conflict(format!("takes its own result: {}", names.join(" from ")), "take that of an earlier merge")
}

/// Where the results of named merges lie until the output is there, or for good.
pub struct SeriesWriter {
    folder: PathBuf,
    is_kept: bool,
    _lock: Lock,
}

/// Says that a folder is of such merges.
const MARK: &str = "merges.list";

impl SeriesWriter {
    /// Beside the output, or in a folder that is `kept`. What an earlier call left beside the output is removed unless it is
    /// to be gone on with.
    ///
    /// # Errors
    /// `Output` where the output cannot be put there, or the folder beside it is of something else or another process's; `Io`.
    pub fn open(out: &Path, kept: Option<&Path>, resume: bool) -> Result<Self, MergeError> {
        check_free(out)?;
        let folder = Self::folder_of(out, kept);
        let is_kept = kept.is_some();
        let lock = claim(&folder)?;
        let mark = folder.join(MARK);
        let is_empty = fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
        if !is_kept && !is_empty {
            if !mark.is_file() {
                let problem =
                    "is there and was not left by a merge: move it, or name another output".to_owned();
                return Err(MergeError::Output { path: folder, problem });
            }
            if !resume {
                fs::remove_dir_all(&folder).map_err(io(&folder, "remove what an earlier merge left"))?;
            }
        }
        fs::create_dir_all(&folder).map_err(io(&folder, "create it"))?;
        if !is_kept {
            fs::write(&mark, "").map_err(io(&mark, "write it"))?;
        }
        Ok(Self { folder, is_kept, _lock: lock })
    }

    pub fn folder_of(out: &Path, kept: Option<&Path>) -> PathBuf {
        kept.map_or_else(|| beside(out, "merges"), Path::to_owned)
    }

    /// Whether a merge's result is there.
    ///
    /// # Errors
    /// `Output` where it is another merge's.
    pub fn has(&self, name: &str, job: &MergeJob) -> Result<bool, MergeError> {
        let path = self.folder.join(name);
        if check_free(&path).is_ok() {
            return Ok(false);
        }
        if fs::read_to_string(self.record(name)).is_ok_and(|found| found == job.identity()) {
            return Ok(true);
        }
        let problem = "was not made by this merge of these files: remove it, and it is made anew".to_owned();
        Err(MergeError::Output { path, problem })
    }

    /// Remember what made a result.
    ///
    /// # Errors
    /// `Io`.
    pub fn made(&self, name: &str, job: &MergeJob) -> Result<(), MergeError> {
        let record = self.record(name);
        fs::write(&record, job.identity()).map_err(io(&record, "write it"))
    }

    /// The output is not there: the folder, if there are results in it that another call can take.
    pub fn leave(self) -> Option<PathBuf> {
        let is_mark = |entry: &fs::DirEntry| entry.file_name() == MARK;
        let has_any =
            fs::read_dir(&self.folder).is_ok_and(|entries| entries.flatten().any(|entry| !is_mark(&entry)));
        if !has_any && !self.is_kept {
            // Where it cannot be removed, the next call does so.
            let _ = fs::remove_dir_all(&self.folder);
        }
        has_any.then_some(self.folder)
    }

    /// The output is there.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<(), MergeError> {
        if self.is_kept {
            return Ok(());
        }
        fs::remove_dir_all(&self.folder).map_err(io(&self.folder, "remove the results that it was made of"))
    }

    fn record(&self, name: &str) -> PathBuf {
        beside(&self.folder.join(name), "identity")
    }
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> MergeError {
    let path = path.to_owned();
    move |source| MergeError::Io { path, action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME: MODEL MODEL`, one merge each; `-` is no name.
    fn text(merges: &[&str]) -> String {
        let document = |merge: &&str| {
            let (name, models) = merge.split_once(": ").unwrap();
            let name = if name == "-" { String::new() } else { format!("name: {name}\n") };
            let models: Vec<String> = models.split(' ').map(|model| format!("- model: {model}\n")).collect();
            let models = models.concat();
            format!("merge_method: linear\n{name}parameters: {{weight: 1}}\nmodels:\n{models}")
        };
        merges.iter().map(document).collect::<Vec<_>>().join("---\n")
    }

    #[test]
    fn merges_come_behind_those_they_take_from() {
        let check = |merges: &[&str], expected: &[(Option<&str>, &[usize])]| {
            let series = MergeSeries::parse(&text(merges)).unwrap();
            let found: Vec<(Option<&str>, &[usize])> =
                series.merges.iter().map(|merge| (merge.config.name.as_deref(), &merge.takes[..])).collect();
            assert_eq!(found, expected, "{merges:?}");
        };
        check(&["-: a b"], &[(None, &[])]);
        check(&["x: a"], &[(Some("x"), &[])]);
        check(&["x: a b", "-: x c"], &[(Some("x"), &[]), (None, &[0])]);
        check(&["-: x y", "y: x b", "x: a"], &[(Some("x"), &[]), (Some("y"), &[0]), (None, &[0, 1])]);
        check(&["-: a", "x: a"], &[(Some("x"), &[]), (None, &[])]);
    }

    #[test]
    fn what_has_no_order_or_output_is_told_by_its_line() {
        let check = |merges: &[&str], expected: &str| {
            let error = MergeSeries::parse(&text(merges)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(&["x: a", "x: b", "-: x"], "line 8: name: `x` is the merge of line 2 too; give each");
        check(&["x: a", "y: x"], "line 8: name: every merge has a name, and the output");
        check(
            &["-: a", "x: b", "-: x"],
            "line 12: merge_method: this merge has no `name`, as that of line 1;",
        );
        check(
            &["x: y", "y: x", "-: x"],
            "line 5: models.0.model: takes its own result: `x` from `y` from `x`;",
        );
        check(&["x: a x", "-: x"], "line 6: models.1.model: takes its own result: `x` from `x`;");
        for name in ["../x", "/x", ".x", "x/", "a/../b"] {
            check(&[&format!("{name}: a"), "-: b"], "line 2: name: ");
        }
    }

    #[test]
    fn each_has_its_own_text() {
        let series = MergeSeries::parse(
            "# one\nmerge_method: passthrough\nname: x\nmodels: [{model: a}]\n---\n\n# two\n\
                                         merge_method: passthrough\nmodels: [{model: x}]\n---\n",
        )
        .unwrap();
        let texts: Vec<&str> = series.merges.iter().map(|merge| merge.config.text.as_str()).collect();
        assert!(texts[0].starts_with("# one\n") && texts[0].ends_with("[{model: a}]\n"), "{texts:?}");
        assert!(texts[1].starts_with("---\n\n# two\n") && !texts[1].contains("name"), "{texts:?}");
        assert_eq!(series.merges[1].config.place("merge_method").line, 8);
    }
}
