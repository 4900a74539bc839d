//! The command `check`.

use crate::Program;
use crate::args::{CheckArgs, Format};
use crate::bootstrap::InvalidBootstrap;
use crate::program::CONFIGURATION_ERROR;
use crate::render::{self, Texts};
use crate::resources::Loaded;
use model::{Diagnostic, Severity};
use std::io::Write;
use std::process::ExitCode;

/// Prints what is wrong. 0: nothing, or warnings only; 1: something is refused.
pub fn run(program: &Program, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (diagnostics, texts, objects) =
        match Loaded::read(program, args.config.as_deref(), &args.paths) {
            Ok(mut loaded) => {
                loaded.read_certificates();
                (
                    loaded.published.diagnostics.to_vec(),
                    loaded.texts,
                    loaded.published.resources.len(),
                )
            }
            Err(error) => (vec![of_bootstrap(error)?], Texts::new(), 0),
        };
    let errors = diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .count();
    let warnings = diagnostics.len() - errors;
    let printed = match args.format {
        Format::Json => format!("{:#}\n", render::json(&diagnostics)),
        Format::Text => {
            let summary = format!(
                "{} in force of {}: {}, {}\n",
                counted(objects, "object"),
                counted(texts.len(), "file"),
                counted(errors, "error"),
                counted(warnings, "warning"),
            );
            render::text(&diagnostics, &texts) + &summary
        }
    };
    std::io::stdout().lock().write_all(printed.as_bytes())?;
    Ok(if errors > 0 {
        ExitCode::from(CONFIGURATION_ERROR)
    } else {
        ExitCode::SUCCESS
    })
}

/// A mistake in the bootstrap file is a diagnostic like any other.
fn of_bootstrap(error: anyhow::Error) -> anyhow::Result<Diagnostic> {
    error
        .downcast::<InvalidBootstrap>()
        .map(InvalidBootstrap::into_diagnostic)
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
