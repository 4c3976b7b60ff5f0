//! SQLite files that are not what they should be, or are somebody else's for a while (F21, F23, F24).

use std::fs;
use std::path::Path;

use sqlx::Connection as _;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_used_is_named_at_launch() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(
        at("garbage"),
        "this is not a database, and longer than a header of one hundred bytes".repeat(99),
    )
    .unwrap();
    fs::create_dir(at("folder")).unwrap();
    let mut torn = fs::read(path_of(&harness::fresh(Backend::Sqlite).await)).unwrap();
    torn.truncate(torn.len() / 2);
    torn[100..4096].fill(0xa5);
    fs::write(at("torn"), torn).unwrap();
    for name in ["garbage", "folder", "torn", "no/such/folder/db", "garbage/db"] {
        let content = fs::read(at(name)).ok();
        let launched = harness::builder(&harness::fresh(Backend::Sqlite).await)
            .database_url(format!("sqlite:{}", at(name).display()));
        let error = launched.launch().await.map(drop).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Initialization, "{name}: {error}");
        assert!(error.to_string().contains(&*at(name).to_string_lossy()), "{name}: {error}");
        assert_eq!(fs::read(at(name)).ok(), content, "{name} is left as it was");
    }
}

fn path_of(fresh: &Fresh) -> &Path {
    Path::new(fresh.url().trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap())
}

// A second, because that is how long the other process holds the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_wait_while_another_process_holds_the_file() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (site, builder) = site(&fresh, None).await;
    let dbos = builder.patience(harness::PATIENCE).launch().await.unwrap();
    warm_up(&dbos, &site).await;
    let running = dbos.start(two_steps, ()).id("w").await.unwrap();
    let steps = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'w'";
    harness::until("the first step", async || fresh.scalar(steps).await == 1).await;
    // A connection outside of the process's queue of writers is as good as another process.
    let mut rival = sqlx::SqliteConnection::connect(fresh.url()).await.unwrap();
    let held = rival.begin_with("BEGIN IMMEDIATE").await.unwrap();
    site.gate.add_permits(1);
    let (dbos_too, bought) = (dbos.clone(), "meanwhile".to_owned());
    let mut work = tokio::task::JoinSet::new();
    work.spawn(async move { running.result().await.map(u64::from) });
    work.spawn(async move { dbos_too.start(buys, bought).await?.result().await });
    let early = tokio::time::timeout(Duration::from_secs(1), work.join_next()).await;
    assert!(early.is_err(), "nothing is written meanwhile: {early:?}");
    held.rollback().await.unwrap();
    let mut ended: Vec<u64> = work.join_all().await.into_iter().map(Result::unwrap).collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 3]);
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE id = 'meanwhile'").await, 1);
}

/// A small file system of its own. Needs the right to mount.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(folder.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_work_until_there_is_room() {
    let Some(disk) = Disk::of("4m") else {
        println!("skipped: no right to mount a small file system");
        return;
    };
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (file, ballast) = (disk.0.path().join("db.sqlite"), disk.0.path().join("ballast"));
    fs::copy(path_of(&fresh), &file).unwrap();
    let url = format!("sqlite:{}", file.display());
    let (site, builder) = site(&fresh, None).await;
    let dbos = builder.database_url(url).patience(Duration::from_secs(1)).launch().await.unwrap();
    let handle = sure(async || dbos.start(two_steps, ()).id("w").await).await;
    // Fails once the disk is full, which is the point.
    let full = fs::write(&ballast, vec![0; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    site.gate.add_permits(1);
    // Larger than what is left in the last page of the log.
    let big = "x".repeat(1 << 20);
    let send = tokio::time::timeout(harness::PATIENCE, dbos.send(handle.id(), &big).into_future()).await;
    fs::remove_file(ballast).unwrap();
    assert_eq!(handle.result().await.unwrap(), 3);
    let sound = sqlx::query_scalar("PRAGMA integrity_check");
    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let sound: String = sound.fetch_one(&mut connection).await.unwrap();
    assert_eq!(sound, "ok");
    dbos.shutdown(Duration::ZERO).await;
    let error = send.expect("a send to a full disk gives up").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
