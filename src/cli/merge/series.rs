//! `xenoglot merge` of a file with several merges: each is planned when the results that it takes are there.

use std::io::Write;
use std::path::Path;

use crate::merge::{Locate, MergeError, MergeJob, MergeSeries, PlanOptions, SeriesMerge, SeriesWriter};

use super::{WriteArguments, explain, print_plan, warn, write};

/// What all merges of the file have in common.
pub(super) struct SeriesCommand<'a> {
    pub series: MergeSeries,
    /// The file, in messages.
    pub name: &'a str,
    pub locate: &'a Locate<'a>,
    pub options: &'a PlanOptions,
    /// Where results stay; beside the output until it is there if not given.
    pub intermediate_dir: Option<&'a Path>,
}

impl SeriesCommand<'_> {
    /// Plan what can be planned before a merge is made, and write nothing.
    pub fn dry_run(&self, out: Option<&Path>) -> anyhow::Result<()> {
        let folder = SeriesWriter::folder_of(out.unwrap_or(Path::new("OUT")), self.intermediate_dir);
        let mut stdout = std::io::stdout().lock();
        for merge in &self.series.merges {
            writeln!(stdout, "# {}", title(merge))?;
            let lacking: Vec<&str> = self.takes(merge).filter(|name| !folder.join(name).is_dir()).collect();
            if lacking.is_empty() {
                print_plan(&self.plan(merge, &folder)?, &mut stdout)?;
            } else {
                writeln!(stdout, "planned when it is there: {}", lacking.join(", "))?;
            }
        }
        Ok(())
    }

    pub fn run(&self, out: &Path, arguments: &WriteArguments) -> anyhow::Result<()> {
        let explained = |error: MergeError| explain(error, self.name);
        let folder = SeriesWriter::folder_of(out, self.intermediate_dir);
        // What takes no other's result shows its faults before anything is written.
        for merge in self.series.merges.iter().filter(|merge| merge.takes.is_empty()) {
            self.plan(merge, &folder)?;
        }
        let writer = SeriesWriter::open(out, self.intermediate_dir, arguments.resume).map_err(explained)?;
        match self.make(&writer, &folder, out, arguments) {
            Ok(()) => writer.finish().map_err(explained),
            Err(error) => {
                if let Some(folder) = writer.leave() {
                    let folder = folder.display();
                    eprintln!(
                        "{folder} keeps the results that are made: the same command with --resume takes them"
                    );
                }
                Err(error)
            }
        }
    }

    /// One after the other, but for results that are there.
    fn make(
        &self,
        writer: &SeriesWriter,
        folder: &Path,
        out: &Path,
        arguments: &WriteArguments,
    ) -> anyhow::Result<()> {
        let explained = |error: MergeError| explain(error, self.name);
        for merge in &self.series.merges {
            let job = self.plan(merge, folder)?;
            warn(&job, self.name);
            let Some(result) = &merge.config.name else {
                write(&job, self.name, out, arguments)?;
                continue;
            };
            if writer.has(result, &job).map_err(explained)? {
                eprintln!("{} is there from before", title(merge));
                continue;
            }
            eprintln!("{}", title(merge));
            write(&job, self.name, &folder.join(result), arguments)?;
            writer.made(result, &job).map_err(explained)?;
        }
        Ok(())
    }

    fn plan(&self, merge: &SeriesMerge, folder: &Path) -> anyhow::Result<MergeJob> {
        let locate =
            |path: &str, revision: Option<&str>| self.series.locate(path, revision, folder, self.locate);
        MergeJob::of(merge.config.clone(), &locate, self.options).map_err(|error| explain(error, self.name))
    }

    /// The names of the results that a merge takes.
    fn takes<'m>(&'m self, merge: &'m SeriesMerge) -> impl Iterator<Item = &'m str> {
        merge.takes.iter().filter_map(|taken| self.series.merges[*taken].config.name.as_deref())
    }
}

fn title(merge: &SeriesMerge) -> String {
    let method = merge.config.method;
    match &merge.config.name {
        Some(name) => format!("{name}, by {method}"),
        None => format!("the output, by {method}"),
    }
}
