//! The way to a file: which folders tell that another file is there now.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links followed on the way to one file; the kernel's own bound is 40.
const MAX_LINKS: usize = 40;

/// The paths whose change can change what a file holds: itself, every link on the way to it, and the folder it
/// is in. None of them has a link in its own folders, so that the kernel's notifications name them like this.
///
/// Where the way ends early, the last is the path that would have to appear.
pub(crate) fn trail(path: &Path) -> Vec<PathBuf> {
    let mut points = Vec::new();
    let mut at = PathBuf::from("/");
    let mut left = steps(path);
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        let target = std::fs::read_link(&next);
        let is_last = left.is_empty();
        match target {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                points.push(next);
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut steps = steps(&target);
                steps.append(&mut left);
                left = steps;
            }
            Ok(_) => break,
            Err(_) if is_last || next.symlink_metadata().is_err() => {
                // A folder that is replaced as a whole.
                points.push(at);
                points.push(next);
                break;
            }
            Err(_) => at = next,
        }
    }
    points
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    steps.collect()
}
