//! Writes a store, its backup and what they hold into a directory, for `tests/formats.rs`: once for each version of the disk
//! format, when it is released. `cargo run -p quadrille-disk --example write_format -- tests/disk/formats/N`

use std::path::PathBuf;

use quadrille_disk::Life;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("the directory is named"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut life = Life::new(71);
        let store = life.open(false).await.expect("opens");
        for _ in 0..12 {
            assert_eq!(life.commit(&store).await, Ok(true));
        }
        let backup: Vec<u8> = store.backup().flat_map(|piece| piece.to_vec()).collect();
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join("backup"), backup).expect("written");
        std::fs::write(dir.join("objects"), life.world.lines()).expect("written");
        // As a kill leaves it: the engine not closed, changes in the log.
        std::fs::write(dir.join("disk"), life.disk.save()).expect("written");
    });
}
