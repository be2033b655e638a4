//! A separate file system for a run.

use std::fs;
use std::process::Command;

use crate::process::Place;

/// 64 MiB under the data directory of a place, unmounted when dropped.
pub struct Mounted<'a>(&'a Place);

impl<'a> Mounted<'a> {
    /// `None` without the permission to mount.
    pub fn tmpfs(place: &'a Place) -> Option<Self> {
        fs::create_dir(place.path("data")).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
            .arg(place.path("data"))
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Self(place))
    }

    pub fn read_only(&self) {
        let mounted = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.0.path("data"))
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "mounted read-only"
        );
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path("data")).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.0.path("data").display());
        }
    }
}
