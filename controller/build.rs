//! Notices when the web app has been built: its files are embedded at compile time, and without
//! this the compiler would keep an older state of the folder.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A path that does not exist would count as changed at every build, so the folder above is
    // watched until there is an app.
    let watched = ["../web/dist", "../web"].into_iter().find(|path| Path::new(path).exists());
    if let Some(path) = watched {
        println!("cargo:rerun-if-changed={path}");
    }
}
