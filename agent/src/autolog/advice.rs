//! What in the units of procedures works against their supervision.

use super::{
    procedures::Trouble,
    systemd::{Settings, Systemd},
};
use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics},
    policy::{
        autolog::{Manager, Procedure, Runs, slice_of},
        build::Policy,
    },
};

/// Looks at the units of the procedures that `policy` lists, on the host we run on, and
/// says what may not be wise.
pub fn advise(policy: &Policy, diagnostics: &mut Diagnostics) {
    let listed = policy.autolog.procedures.iter();
    let units: Vec<(&Procedure, &str)> = listed
        .filter_map(|procedure| match &procedure.runs {
            Some(Runs::Unit { name }) => Some((procedure, name.as_str())),
            _ => None,
        })
        .collect();
    let is_asked = policy.autolog.acts && policy.autolog.manager == Manager::Systemd;
    let Some((first, _)) = units.first().filter(|_| is_asked) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let looked = match runtime {
        Ok(runtime) => runtime.block_on(look(policy, &units, diagnostics)),
        Err(error) => Err(Trouble::Unreachable {
            who: "systemd",
            why: error.to_string(),
        }),
    };
    if let Err(trouble) = looked {
        let message = format!("nothing is said about the units of procedures: {trouble}");
        diagnostics.push(Diagnostic::info(Code::UnitsUnknown, first.span, message));
    }
}

async fn look(
    policy: &Policy,
    units: &[(&Procedure, &str)],
    diagnostics: &mut Diagnostics,
) -> Result<(), Trouble> {
    let systemd = Systemd::new(policy.config.autolog.bus.clone());
    for (procedure, unit) in units {
        let settings = systemd.settings(unit).await?;
        for said in advice(procedure, unit, &settings) {
            diagnostics.push(said);
        }
        let is_defined = policy
            .config
            .jobs
            .iter()
            .any(|job| job.name == procedure.job);
        let slice = &policy.autolog.slice;
        if let Some(said) = elsewhere(procedure, unit, &settings, slice).filter(|_| !is_defined) {
            diagnostics.push(said);
        }
    }
    Ok(())
}

fn advice(procedure: &Procedure, unit: &str, settings: &Settings) -> Vec<Diagnostic> {
    let Procedure { name, span, .. } = procedure;
    let mut said = Vec::new();
    if !settings.exists {
        let message = format!("{name} is {unit}, and there is no such unit");
        said.push(Diagnostic::warning(Code::NoSuchUnit, *span, message));
    }
    if !matches!(settings.restart.as_str(), "" | "no") {
        let restart = &settings.restart;
        let message = format!("{unit} has Restart={restart}, so systemd starts {name} again too");
        said.push(
            Diagnostic::warning(Code::RestartsItself, *span, message)
                .help("write Restart=no in a drop-in, or take the procedure out of AUTOLOG"),
        );
    }
    if !settings.sockets.is_empty() {
        let sockets = settings.sockets.join(", ");
        let message = format!(
            "{sockets} starts {unit} and holds its ports, so they say nothing about {name}"
        );
        said.push(
            Diagnostic::warning(Code::SocketActivated, *span, message).help(
                "disable the socket unit, or write NOAUTOLOG behind the job name of its ports",
            ),
        );
    }
    said
}

/// That the unit is not where its job is looked for, below `slice`.
fn elsewhere(
    procedure: &Procedure,
    unit: &str,
    settings: &Settings,
    slice: &str,
) -> Option<Diagnostic> {
    let (expected, found) = (slice_of(unit, slice), &settings.slice);
    if found.is_empty() || *found == expected {
        return None;
    }
    let job = &procedure.job;
    let message =
        format!("{unit} is in {found} and not in {expected}, so it is not taken for job {job}");
    Some(
        Diagnostic::warning(Code::OtherSlice, procedure.span, message)
            .help(format!("define [jobs.{job}] by the unit's cgroup")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{Sources, Span};

    #[test]
    fn settings_that_work_against_it() {
        let mut sources = Sources::new();
        let source = sources.add("p".into(), "FTPD");
        let procedure = Procedure {
            name: "FTPD".into(),
            job: "FTPD".into(),
            parm: None,
            after_dvipa: false,
            after_ttls: false,
            wait: 5,
            runs: None,
            span: Span {
                source,
                start: 0,
                end: 4,
            },
        };
        let codes = |exists, restart: &str, sockets: &[&str]| {
            let settings = Settings {
                exists,
                restart: restart.into(),
                slice: "system.slice".into(),
                sockets: sockets.iter().map(ToString::to_string).collect(),
            };
            let said = advice(&procedure, "x.service", &settings);
            said.iter().map(|said| said.code.id()).collect::<Vec<_>>()
        };
        assert_eq!(codes(true, "no", &[]), [""; 0]);
        assert_eq!(codes(false, "", &[]), ["PRV546"]);
        assert_eq!(codes(true, "on-failure", &[]), ["PRV544"]);
        assert_eq!(codes(true, "no", &["x.socket"]), ["PRV545"]);

        let is_elsewhere = |slice: &str, found: &str| {
            let settings = Settings {
                slice: found.into(),
                ..Settings::default()
            };
            elsewhere(&procedure, "x.service", &settings, slice).is_some()
        };
        assert!(!is_elsewhere("/system.slice", "system.slice"));
        assert!(is_elsewhere("/system.slice", "web.slice"));
        assert!(!is_elsewhere("/u/app.slice", "app.slice"));
        // Of a unit that isn't there nothing is known.
        assert!(!is_elsewhere("/u/app.slice", ""));
    }
}
