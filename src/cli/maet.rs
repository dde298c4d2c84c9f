//! `xenoglot maet`: an ability of one language given to models of others, as one recipe or step by step.

mod arguments;
mod recipe;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::merge::config::ModelReference;
use crate::merge::maet::{
    MaetJob, MaskJob, MaskOptions, MaskTask, Recipe, Selection, TrainingTask, equivalent_config, mask,
    report_html, report_text, select, transfer,
};
use crate::merge::{ExecuteOptions, FileOptions, MergeError, PlanOptions};
use crate::settings::{Overrides, Settings};
use crate::train::MODEL_FOLDER;
use crate::weights::NeuronMask;

use super::failure::Failure;
use super::merge::{Bar, explain, locate, unfinished, wait_for_interrupt};
use super::options::{GlobalOptions, settings};
use super::start;
use super::train::{Resources, train};
use arguments::{MaskArguments, OutputArguments, RunArguments, SelectArguments, Step, WorkArguments};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    step: Step,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    if matches!(arguments.step, Step::Example) {
        return Ok(std::io::stdout().lock().write_all(Recipe::EXAMPLE.as_bytes())?);
    }
    let settings = settings(global, Overrides::default())?;
    start::logging(&settings, true)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // The first asks the pieces in progress to be the last; the second ends the process as usual.
    let _ =
        std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || wait_for_interrupt(&asked));
    let work = Work { settings, stop };
    match &arguments.step {
        Step::Mask(arguments) => work.mask(arguments),
        Step::Select(arguments) => work.select_only(arguments),
        Step::Transfer(arguments) => {
            let (text, name) = arguments.recipe.text()?;
            work.transfer(&text, &name, arguments.selection.as_deref(), &arguments.output)
        }
        Step::Run(arguments) => work.run(arguments),
        Step::Example => Ok(()),
    }
}

struct Work {
    settings: Settings,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn options(&self, arguments: &WorkArguments, resume: bool) -> ExecuteOptions<'_> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        ExecuteOptions { threads: arguments.jobs.map_or(cores, usize::from), resume, stop: &self.stop }
    }

    fn locate(&self, path: &str, revision: Option<&str>) -> Result<PathBuf, String> {
        locate(path, revision, &self.settings)
    }

    fn mask(&self, arguments: &MaskArguments) -> anyhow::Result<()> {
        if let Some(path) = &arguments.recipe {
            let (text, name) = recipe::read(path)?;
            let recipe = Recipe::parse(&text).map_err(|error| explain(error, &name))?;
            return self.masks(&recipe, &recipe.masks, &arguments.work, &name);
        }
        let reference = |path: &String| path.parse().map_err(Failure::usage);
        let mut models = arguments.models.iter().map(reference).collect::<Result<Vec<_>, _>>()?;
        let base = models.remove(0);
        let MaskArguments { neurons, density, cap, .. } = *arguments;
        let options = MaskOptions { neurons, density, cap };
        options.check().map_err(Failure::usage)?;
        let out = arguments.out.clone().unwrap_or_default();
        self.one_mask(&base, &models, options, &out, &arguments.work).map_err(|error| explain(error, "mask"))
    }

    fn masks(
        &self,
        recipe: &Recipe,
        tasks: &[MaskTask],
        arguments: &WorkArguments,
        name: &str,
    ) -> anyhow::Result<()> {
        for task in tasks {
            let out = Path::new(&task.out);
            self.one_mask(&recipe.base, &task.tuned, task.options, out, arguments)
                .map_err(|error| explain(error, name))?;
        }
        Ok(())
    }

    fn one_mask(
        &self,
        base: &ModelReference,
        tuned: &[ModelReference],
        options: MaskOptions,
        out: &Path,
        arguments: &WorkArguments,
    ) -> Result<(), MergeError> {
        let locate = |path: &str, revision: Option<&str>| self.locate(path, revision);
        let job = MaskJob::plan(base, tuned, &locate, arguments.allow_crimes)?;
        let bar = bar();
        let outcome = mask(&job, options, out, self.options(arguments, false), &bar);
        bar.0.finish_and_clear();
        let summary = outcome?;
        eprintln!("{} of {} weights are kept in {}", summary.kept(), summary.elements(), out.display());
        Ok(())
    }

    fn plan(
        &self,
        text: &str,
        arguments: &WorkArguments,
        shard_bytes: Option<u64>,
    ) -> Result<MaetJob, MergeError> {
        let usual = PlanOptions::default();
        let shard_bytes = shard_bytes.unwrap_or(usual.shard_bytes);
        let options = PlanOptions { crimes: arguments.allow_crimes, shard_bytes, ..usual };
        let locate = |path: &str, revision: Option<&str>| self.locate(path, revision);
        let job = MaetJob::plan(Recipe::parse(text)?, &locate, &options)?;
        for warning in &job.job.plan.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(job)
    }

    fn select(&self, job: &MaetJob, arguments: &WorkArguments) -> Result<Selection, MergeError> {
        let bar = bar();
        let outcome = select(job, self.options(arguments, false), &bar);
        bar.0.finish_and_clear();
        outcome
    }

    fn select_only(&self, arguments: &SelectArguments) -> anyhow::Result<()> {
        let (text, name) = arguments.recipe.text()?;
        let job = self.plan(&text, &arguments.work, None).map_err(|error| explain(error, &name))?;
        let selection = self.select(&job, &arguments.work).map_err(|error| explain(error, &name))?;
        let write = |path: &Option<PathBuf>, text: String| match path {
            None => Ok(()),
            Some(path) => std::fs::write(path, text).with_context(|| format!("writing {}", path.display())),
        };
        write(&arguments.json, serde_json::to_string_pretty(&selection)?)?;
        write(&arguments.html, report_html(&selection))?;
        write(&arguments.merge_config, equivalent_config(&job.recipe, &selection))?;
        Ok(std::io::stdout().lock().write_all(report_text(&selection).as_bytes())?)
    }

    fn transfer(
        &self,
        text: &str,
        name: &str,
        selection: Option<&Path>,
        arguments: &OutputArguments,
    ) -> anyhow::Result<()> {
        let shard_bytes = Some(arguments.out_shard_size.0);
        let mut job = self.plan(text, &arguments.work, shard_bytes).map_err(|error| explain(error, name))?;
        let selection = match selection {
            None => self.select(&job, &arguments.work).map_err(|error| explain(error, name))?,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?
            }
        };
        let files = FileOptions { hash_inputs: arguments.hash_inputs, no_card: arguments.no_model_card };
        let options = self.options(&arguments.work, arguments.resume);
        let bar = bar();
        let outcome = transfer(&mut job, &selection, &arguments.out, options, files, &bar);
        bar.0.finish_and_clear();
        outcome.map_err(|error| unfinished(error, name, &arguments.out))?;
        let (chosen, all) = (selection.chosen(), selection.tensors.len());
        eprintln!("{chosen} of {all} tensors chosen, merged in {}", arguments.out.display());
        Ok(())
    }

    fn run(&self, arguments: &RunArguments) -> anyhow::Result<()> {
        let (text, name) = recipe::read(&arguments.file)?;
        let recipe = Recipe::parse(&text).map_err(|error| explain(error, &name))?;
        let (masked, probes): (Vec<_>, Vec<_>) =
            recipe.trainings.iter().partition(|training| training.is_masked());
        let jobs = arguments.output.work.jobs;
        self.check_inputs(&recipe, &arguments.output)
            .map_err(|problem| Failure::usage(format!("{name}: {problem}")))?;
        self.trainings(&recipe, &probes, jobs)?;
        let (there, missing): (Vec<_>, Vec<_>) =
            recipe.masks.iter().cloned().partition(|task| Path::new(&task.out).exists());
        for task in &there {
            self.check_mask(task)?;
        }
        self.masks(&recipe, &missing, &arguments.output.work, &name)?;
        self.trainings(&recipe, &masked, jobs)?;
        self.transfer(&text, &name, None, &arguments.output)
    }

    /// What would be missed only after hours of training.
    fn check_inputs(&self, recipe: &Recipe, output: &OutputArguments) -> Result<(), String> {
        if output.out.exists() && !output.resume {
            return Err(format!("{} exists; name another folder or remove it first", output.out.display()));
        }
        for training in &recipe.trainings {
            let cpt = training.request.method.as_ref().and_then(|method| method.cpt.as_ref());
            let texts = cpt.iter().flat_map(|cpt| &cpt.corpora).flat_map(|corpus| corpus.files.names());
            if let Some(missing) = texts.into_iter().find(|text| !Path::new(text).is_file()) {
                return Err(format!("names the text {missing:?}: there is no such file"));
            }
        }
        let made: Vec<PathBuf> =
            recipe.trainings.iter().map(|training| training.folder.join(MODEL_FOLDER)).collect();
        let languages = recipe.languages.iter().map(|language| &language.model);
        let models = [&recipe.base, &recipe.ability].into_iter().chain(&recipe.reference).chain(languages);
        for model in models.filter(|model| !made.iter().any(|made| *made == Path::new(&model.path))) {
            self.locate(&model.path, model.revision.as_deref())?;
        }
        Ok(())
    }

    /// A mask that is there is taken, if it was made as the recipe says, of the models as they are now.
    fn check_mask(&self, task: &MaskTask) -> anyhow::Result<()> {
        let path = Path::new(&task.out);
        let mask = NeuronMask::open(path)?;
        let MaskOptions { neurons, density, cap } = task.options;
        let refuse = |problem: String| {
            Err(Failure::usage(format!("{}: {problem}", task.out))
                .hint("remove it, and it is made anew")
                .into())
        };
        if (mask.neurons(), mask.density(), mask.cap()) != (neurons, density, Some(cap)) {
            let (neurons, cap) = (mask.neurons().name(), mask.cap().unwrap_or(0.0));
            let density = mask.density();
            return refuse(format!(
                "the mask was made of {neurons} neurons with density {density} and cap {cap}, not as the recipe says"
            ));
        }
        let made = std::fs::metadata(path)?.modified()?;
        for model in &task.tuned {
            let folder = self.locate(&model.path, model.revision.as_deref()).map_err(Failure::usage)?;
            let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let weights = files.filter(|file| file.extension().is_some_and(|ending| ending == "safetensors"));
            for file in weights {
                if std::fs::metadata(&file)?.modified()? > made {
                    return refuse(format!("the mask is older than {}", file.display()));
                }
            }
        }
        Ok(())
    }

    fn trainings(&self, recipe: &Recipe, tasks: &[&TrainingTask], jobs: Option<u16>) -> anyhow::Result<()> {
        let resources = Resources { settings: &self.settings, jobs, stop: &self.stop };
        for task in tasks {
            eprintln!("training {}", task.folder.display());
            train(&task.request, recipe.base.revision.as_deref(), &task.folder, &resources)?;
        }
        Ok(())
    }
}

fn bar() -> Bar {
    Bar(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()))
}
