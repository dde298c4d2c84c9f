//! Which models this process can generate with: those it serves, and OpenAI-compatible servers that its settings name.
//!
//! A client names a model and never a URL: what a request says decides about no connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::eval::{HttpGenerator, HttpOptions, LocalGenerator, Model, weights_sha256};
use crate::registry::{Registry, ServedModel};

/// A server that the settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What clients call it.
    pub name: String,
    pub url: String,
    /// Which of the server's models, if it has several.
    pub model: Option<String>,
}

impl Endpoint {
    /// From `NAME=URL`, or `NAME=URL#MODEL` for a server of several models.
    ///
    /// # Errors
    /// What the text should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not NAME=URL or NAME=URL#MODEL, with a URL of http:// or https://");
        let (name, url) = text.split_once('=').ok_or_else(wrong)?;
        let (url, model) = match url.split_once('#') {
            Some((url, model)) => (url, Some(model.trim().to_owned())),
            None => (url, None),
        };
        let (name, url) = (name.trim(), url.trim());
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        if name.is_empty() || !is_url || model.as_ref().is_some_and(String::is_empty) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), url: url.to_owned(), model })
    }
}

/// Finds the generator of a model by name.
#[derive(Clone)]
pub struct Generators(Arc<dyn Fn(&str) -> Found + Send + Sync>);

type Found = BoxFuture<'static, Option<Result<Arc<dyn Model>, String>>>;

impl Generators {
    /// Models of a registry first, then servers by name.
    pub fn new(registry: Registry, endpoints: Vec<Endpoint>) -> Self {
        Self::with(move |name| {
            if let Ok(model) = registry.get(name) {
                let base = model.adapter.as_ref().and_then(|adapter| registry.get(&adapter.base).ok());
                return async move {
                    // The files are read once a model: of large ones that takes a while.
                    let work = move || Arc::new(local(&model, base.as_deref())) as Arc<dyn Model>;
                    Some(tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string()))
                }
                .boxed();
            }
            match endpoints.iter().find(|endpoint| endpoint.name == name).cloned() {
                Some(endpoint) => async move { Some(connect(endpoint).await) }.boxed(),
                None => futures::future::ready(None).boxed(),
            }
        })
    }

    /// Any other way to find one.
    pub fn with(find: impl Fn(&str) -> Found + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// `None`: this process does not have the model. An error says why it cannot be reached now.
    pub async fn find(&self, model: &str) -> Option<Result<Arc<dyn Model>, String>> {
        (self.0)(model).await
    }
}

fn local(model: &ServedModel, base: Option<&ServedModel>) -> LocalGenerator {
    LocalGenerator {
        model: model.name.clone(),
        dtype: model.dtype.to_owned(),
        handle: model.handle.clone(),
        adapter: model.request_adapter(),
        tokenizer: model.tokenizer.clone(),
        template: model.template.clone(),
        augmented: model.augmented.clone(),
        weights_sha256: weights_digest(model, base),
    }
}

/// The digest of a served model's weights, an adapter's behind its base's; `None` where a trainer has changed them since, or their
/// files are gone.
fn weights_digest(model: &ServedModel, base: Option<&ServedModel>) -> Option<String> {
    let is_as_read = model.handle.stats().weight_version.load(Ordering::Relaxed) == 0;
    let of = |model: &ServedModel| {
        model.weights_digest.get_or_init(|| weights_sha256(&model.source).ok()).clone().filter(|_| is_as_read)
    };
    match (&model.adapter, base) {
        (None, _) => of(model),
        (Some(_), None) => None,
        (Some(_), Some(base)) => Some(format!("{}+{}", of(base)?, of(model)?)),
    }
}

async fn connect(endpoint: Endpoint) -> Result<Arc<dyn Model>, String> {
    let options = HttpOptions { model: endpoint.model, ..HttpOptions::new(&endpoint.url) };
    match HttpGenerator::connect(options).await {
        Ok(generator) => Ok(Arc::new(generator)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_a_name_and_a_url() {
        let check = |text: &str, expected: Option<(&str, &str, Option<&str>)>| {
            let found = Endpoint::parse(text).ok();
            let found = found.as_ref().map(|e| (e.name.as_str(), e.url.as_str(), e.model.as_deref()));
            assert_eq!(found, expected, "{text}");
        };
        check("big=http://host:8000/v1", Some(("big", "http://host:8000/v1", None)));
        check("big = https://host#org/m", Some(("big", "https://host", Some("org/m"))));
        check("http://host", None);
        check("=http://host", None);
        check("big=file:///etc/passwd", None);
        check("big=http://host#", None);
    }
}
