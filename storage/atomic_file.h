// AtomicFile: the one way nearcell writes files. Bytes go to a temporary file beside the target;
// commit() makes them durable and renames it over the target, so that whoever opens the target,
// after a crash or power failure too, finds the old file or the new one, whole. Without commit()
// the temporary file is removed. Cost: one fsync of the file, one of its directory. Not thread
// safe.
//
// Only being killed leaves a temporary file, NAME.tmp.*, which can be deleted. A process that wants
// a file size limit (RLIMIT_FSIZE) reported as an error must ignore SIGXFSZ.
//
// What takes hours is written by a resumed file instead: its bytes go to NAME.part, which stays
// until commit() or discard(), so that another process can go on with it. An owner, part of its
// name (NAME.OWNER.part), keeps apart what several jobs have for one target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace nearcell {

class AtomicFile {
   public:
    // Throws Io when the directory cannot be written, or when `path` is a symbolic link or anything
    // else but a regular file: renaming would replace the link, not the file it names.
    explicit AtomicFile(const std::string& path);
    // Goes on with PATH.part, or makes it: keeps its first `kept` bytes and cuts off the rest. One
    // at a time may: throws Io while another AtomicFile, of any process, has it, and Corrupt when
    // it is shorter.
    AtomicFile(const std::string& path, uint64_t kept, const std::string& owner = "");
    static std::string partial_path(const std::string& path, const std::string& owner = "") {
        return path + (owner.empty() ? "" : "." + owner) + ".part";
    }
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    // Takes the room for a file of `bytes` now, so that a full disk is found before the work is
    // done.
    void reserve(uint64_t bytes);
    void append(const void* data, size_t bytes);
    // Overwrites bytes that were appended before.
    void write_at(uint64_t offset, const void* data, size_t bytes);
    uint64_t bytes() const { return bytes_; }

    // Of a resumed file: what was written so far is on the disk, whatever happens then.
    void sync();
    // The new file gets the permission bits of the one it replaces.
    void commit();
    // Removes what was written, a PATH.part too.
    void discard() noexcept;

   private:
    [[noreturn]] void fail(const char* action, int error) const;
    void open_directory();
    void inspect_target();
    void create_temporary();
    void open_partial(uint64_t kept);
    void lock_partial();
    // A private file stays private from its first byte; a new one gets what the umask allows.
    unsigned creation_mode() const { return replaces_ ? (mode_ & 0700u) : 0666u; }
    void sync_directory();
    void close_all() noexcept;

    std::string path_, name_, owner_, temporary_;
    int directory_ = -1, descriptor_ = -1;
    unsigned mode_ = 0;
    bool replaces_ = false;
    bool resumed_ = false;           // the temporary file outlives this
    bool directory_synced_ = false;  // since it was made
    uint64_t bytes_ = 0;
};

}  // namespace nearcell
