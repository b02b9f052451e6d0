//! What the host expects of its trail: the options by which coverage and health are judged.

use threadline::Error;
use threadline::health::{CoverageOptions, HealthOptions};

use super::config::SurfaceConfig;

/// Which tables need not be captured.
pub(super) fn coverage_options(config: &SurfaceConfig) -> CoverageOptions {
    config.operation.tables.ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
        options.ignore(ignored.table.clone(), &ignored.reason)
    })
}

/// Which tables have to be captured: those of the configuration, and those of the audited models.
pub(super) fn health_options(config: &SurfaceConfig) -> Result<HealthOptions, Error> {
    let mut options = HealthOptions::from(&config.operation.tables).statement_timeout(config.limit);
    for model in threadline::audited_models() {
        options = options.expect(model.table()?);
    }
    Ok(options)
}
