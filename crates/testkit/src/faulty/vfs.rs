//! The disk as SQLite sees it: the table of functions of a VFS, over [`Files`].
//!
//! The only unsafe code of the repository. SQLite promises: every pointer it passes is valid for the
//! call, a file was opened by `open` before it is used, and is not used after `close`.

#![expect(
    unsafe_code,
    reason = "SQLite calls a VFS through C function pointers; tests only"
)]

use super::files::{Contents, Fault, Files, Refusal};
use super::lock;
use super::locks::{Holder, Level};
use rusqlite::ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};

/// Names of VFSs and numbers of handles.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What SQLite allocates for an open file.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    files: Arc<Mutex<Files>>,
    name: String,
    holder: Holder,
    /// A temporary file of its own, which no power loss concerns.
    temporary: Option<Vec<u8>>,
}

/// Registers a VFS over `files` and returns its name. It stays for the life of the process.
pub(super) fn register(files: Arc<Mutex<Files>>) -> String {
    let name = format!("faulty-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.clone()).unwrap_or_default();
    let vfs = Box::new(ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: c_int::try_from(size_of::<File>()).unwrap_or(c_int::MAX),
        mxPathname: 1024,
        pNext: std::ptr::null_mut(),
        zName: c_name.into_raw(),
        pAppData: Box::into_raw(Box::new(files)).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path_name),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: the table, its name and its data are leaked on purpose, so they outlive every use.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite refuses to register a VFS");
    name
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn code(result: Result<(), Fault>, dead: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Dead) => dead,
        Err(Fault::Missing) => ffi::SQLITE_CANTOPEN,
        Err(Fault::Refused(Refusal::Full)) => ffi::SQLITE_FULL,
        Err(Fault::Refused(Refusal::Fsync)) => ffi::SQLITE_IOERR_FSYNC,
        Err(Fault::Refused(Refusal::ReadOnly)) => ffi::SQLITE_READONLY,
    }
}

/// # Safety
/// `vfs` was registered here.
unsafe fn files_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Arc<Mutex<Files>> {
    // SAFETY: `register` put a leaked `Arc` there.
    unsafe { &*(*vfs).pAppData.cast::<Arc<Mutex<Files>>>() }
}

/// # Safety
/// `file` was opened here and is not closed. SQLite uses a file from one thread at a time.
unsafe fn handle_of<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `open` put a leaked box there, which `close` takes back.
    unsafe { &mut *(*file.cast::<File>()).handle }
}

/// # Safety
/// `name` is null or a C string.
unsafe fn text(name: *const c_char) -> Option<String> {
    // SAFETY: by the caller's promise.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

fn length(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(0)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes our VFS, room for a `File`, a name or null, and room for flags or null.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let files = files_of(vfs);
        let (name, temporary) = match text(name) {
            Some(name) => (name, None),
            None => (String::new(), Some(Vec::new())),
        };
        if temporary.is_none() {
            let opened = lock(files).open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0);
            if opened.is_err() {
                return code(opened, ffi::SQLITE_CANTOPEN);
            }
        }
        let holder = NEXT.fetch_add(1, Ordering::Relaxed);
        let handle = Box::new(Handle {
            files: files.clone(),
            name,
            holder,
            temporary,
        });
        (*file.cast::<File>()).handle = Box::into_raw(handle);
        (*file).pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes our VFS and a name.
    let (files, name) = unsafe { (files_of(vfs), text(name).unwrap_or_default()) };
    match lock(files).delete(&name, sync != 0) {
        Err(Fault::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        other => code(other, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes our VFS, a name, and room for the answer.
    unsafe {
        let exists = lock(files_of(vfs)).exists(&text(name).unwrap_or_default());
        *out = c_int::from(exists == Ok(true));
        code(exists.map(drop), ffi::SQLITE_IOERR_ACCESS)
    }
}

unsafe extern "C" fn full_path_name(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a name and `room` bytes to write to.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes `count` bytes to write to.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), length(count)) };
    // Salts of write-ahead logs have to differ from each other, and runs have to be alike.
    let mut state = NEXT
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for byte in bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        *byte = state.to_le_bytes()[3];
    }
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(std::time::Duration::from_micros(length(microseconds) as u64));
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes room for the answer. Nothing asks what time it is.
    unsafe { *out = 2_461_000.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _room: c_int, _out: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: opened here, and used by nobody from here on.
    let handle = unsafe { Box::from_raw((*file.cast::<File>()).handle) };
    if let Some(contents) = lock(&handle.files).contents_of_the_dead(&handle.name) {
        contents.locks.unlock(handle.holder, Level::None);
        contents.index.unmap(handle.holder);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: our file, and `count` bytes to write to.
    let (handle, out) = unsafe {
        (
            handle_of(file),
            std::slice::from_raw_parts_mut(out.cast::<u8>(), length(count)),
        )
    };
    let mut files = lock(&handle.files);
    let bytes = match (&handle.temporary, files.contents(&handle.name)) {
        (Some(bytes), _) => bytes,
        (None, Ok(contents)) => &contents.visible,
        (None, Err(_)) => return ffi::SQLITE_IOERR_READ,
    };
    let found = bytes.get(length(offset)..).unwrap_or_default();
    let found = found.get(..out.len()).unwrap_or(found);
    out.fill(0);
    for (to, from) in out.iter_mut().zip(found) {
        *to = *from;
    }
    if found.len() == out.len() {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR_SHORT_READ
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: our file, and `count` bytes to read.
    let (handle, bytes) = unsafe {
        (
            handle_of(file),
            std::slice::from_raw_parts(bytes.cast::<u8>(), length(count)),
        )
    };
    let offset = length(offset);
    if let Some(temporary) = &mut handle.temporary {
        if temporary.len() < offset + bytes.len() {
            temporary.resize(offset + bytes.len(), 0);
        }
        if let Some(place) = temporary.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        return ffi::SQLITE_OK;
    }
    code(
        lock(&handle.files).write(&handle.name, offset, bytes),
        ffi::SQLITE_IOERR_WRITE,
    )
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: our file.
    let handle = unsafe { handle_of(file) };
    if let Some(temporary) = &mut handle.temporary {
        temporary.truncate(length(size));
        return ffi::SQLITE_OK;
    }
    code(
        lock(&handle.files).truncate(&handle.name, length(size)),
        ffi::SQLITE_IOERR_TRUNCATE,
    )
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: our file.
    let handle = unsafe { handle_of(file) };
    if handle.temporary.is_some() {
        return ffi::SQLITE_OK;
    }
    code(lock(&handle.files).sync(&handle.name), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: our file, and room for the answer.
    let (handle, out) = unsafe { (handle_of(file), &mut *out) };
    let mut files = lock(&handle.files);
    let size = match (&handle.temporary, files.contents(&handle.name)) {
        (Some(bytes), _) => bytes.len(),
        (None, Ok(contents)) => contents.visible.len(),
        (None, Err(_)) => return ffi::SQLITE_IOERR_FSTAT,
    };
    *out = size.try_into().unwrap_or(i64::MAX);
    ffi::SQLITE_OK
}

/// Runs `f` on the file's contents; locks work for temporary files and without power as well.
///
/// # Safety
/// As for [`handle_of`].
unsafe fn with_contents(
    file: *mut ffi::sqlite3_file,
    f: impl FnOnce(&mut Contents, Holder) -> c_int,
) -> c_int {
    // SAFETY: by the caller's promise.
    let handle = unsafe { handle_of(file) };
    match lock(&handle.files).contents_of_the_dead(&handle.name) {
        Some(contents) => f(contents, handle.holder),
        None => ffi::SQLITE_OK,
    }
}

fn level(number: c_int) -> Level {
    match number {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

fn granted(granted: bool) -> c_int {
    if granted { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn lock_file(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: our file.
    unsafe {
        with_contents(file, |contents, holder| {
            granted(contents.locks.lock(holder, level(wanted)))
        })
    }
}

unsafe extern "C" fn unlock_file(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: our file.
    unsafe {
        with_contents(file, |contents, holder| {
            contents.locks.unlock(holder, level(wanted));
            ffi::SQLITE_OK
        })
    }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: our file, and room for the answer.
    unsafe {
        *out = 0;
        with_contents(file, |contents, _| {
            *out = c_int::from(contents.locks.is_reserved());
            ffi::SQLITE_OK
        })
    }
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _op: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// As SQLite's own VFS for Unix says: a torn write does not harm the bytes around it.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    number: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: our file, and room for the address. Regions stay where they are until the last user left.
    unsafe {
        *out = std::ptr::null_mut();
        with_contents(file, |contents, holder| {
            *out = contents
                .index
                .region(holder, length(number), length(size), extend != 0)
                .cast();
            ffi::SQLITE_OK
        })
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let slots = length(offset)..length(offset) + length(count);
    // SAFETY: our file.
    unsafe {
        with_contents(file, |contents, holder| {
            match flags & ffi::SQLITE_SHM_UNLOCK != 0 {
                true => {
                    contents.index.unlock(holder, slots);
                    ffi::SQLITE_OK
                }
                false => granted(
                    contents
                        .index
                        .lock(holder, slots, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0),
                ),
            }
        })
    }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: our file.
    unsafe {
        with_contents(file, |contents, holder| {
            contents.index.unmap(holder);
            ffi::SQLITE_OK
        })
    }
}
