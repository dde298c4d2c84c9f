//! Spans of requests for an OpenTelemetry collector, as OTLP over HTTP. Builds without the feature `otel` refuse the setting.

use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;

use crate::settings::Settings;

#[cfg(feature = "otel")]
pub(super) use exporting::Exporter;

/// Nothing is exported.
#[cfg(not(feature = "otel"))]
#[derive(Default)]
pub(super) struct Exporter;

pub(super) type ExportLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The layer that exports, where the settings name a collector, and what keeps it going.
#[cfg(not(feature = "otel"))]
pub(super) fn exporter(settings: &Settings) -> anyhow::Result<(Option<ExportLayer>, Exporter)> {
    if settings.otlp_endpoint.is_some() {
        return Err(super::failure::Failure::usage("otlp_endpoint: this build exports no traces")
            .hint("build with --features otel, or leave the setting out")
            .into());
    }
    Ok((None, Exporter))
}

/// The layer that exports, where the settings name a collector, and what keeps it going.
#[cfg(feature = "otel")]
pub(super) fn exporter(settings: &Settings) -> anyhow::Result<(Option<ExportLayer>, Exporter)> {
    match &settings.otlp_endpoint {
        Some(endpoint) => exporting::exporter(endpoint).map(|(layer, exporter)| (Some(layer), exporter)),
        None => Ok((None, Exporter::default())),
    }
}

#[cfg(feature = "otel")]
mod exporting {
    use anyhow::Context;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::Layer;

    use super::ExportLayer;

    /// Exports until it is dropped, which sends what is left.
    #[derive(Default)]
    pub struct Exporter(Option<SdkTracerProvider>);

    impl Drop for Exporter {
        fn drop(&mut self) {
            if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
                eprintln!("warning: the last traces were not exported: {error}");
            }
        }
    }

    pub fn exporter(endpoint: &str) -> anyhow::Result<(ExportLayer, Exporter)> {
        // Another part of the process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).build();
        let exporter = exporter.context("otlp_endpoint")?;
        let resource = Resource::builder().with_service_name("xenoglot").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("xenoglot"));
        Ok((layer.with_filter(LevelFilter::INFO).boxed(), Exporter(Some(provider))))
    }
}
