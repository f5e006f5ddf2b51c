// The file, version 2. Times are microseconds since 1970; what is NULL is not there.
//
//   jobs       sequence       of submission, never given twice: not that of a deleted job either
//              id, model, config, priority, resumed_from, request_id, request_digest, trace_parent   as submitted
//              state, reason  the state's name
//              state_time     since when it is in that state
//              create_time, start_time, end_time, retry_time
//              attempts, failures, model_version, disk_bytes
//              progress, evaluation   the last ones, JSON (job_json.h)
//              last_event     number of its last event
//              told           how many of its events are progress or warnings
//   labels     job, key, value        job is jobs.sequence here and below
//   events     job, number, time, event   JSON (job_json.h); the last state among them is the job's
//   processes  job, pid, start_ticks, boot_id
//
// A deleted job takes with it what the other tables hold of it. `PRAGMA user_version` is the version;
// kMigrations[n] makes version n + 1 of n.

#include "training/jobs/job_store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_json.h"

namespace deweather {
namespace {

using SQLite::Statement;

constexpr std::array kMigrations = {
    R"sql(
      CREATE TABLE jobs(
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        config TEXT NOT NULL,
        priority INTEGER NOT NULL,
        resumed_from TEXT NOT NULL,
        request_id TEXT UNIQUE,
        request_digest TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        state_time INTEGER NOT NULL,
        create_time INTEGER NOT NULL,
        start_time INTEGER,
        end_time INTEGER,
        retry_time INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        model_version TEXT NOT NULL DEFAULT '',
        disk_bytes INTEGER NOT NULL DEFAULT 0,
        progress TEXT,
        evaluation TEXT,
        last_event INTEGER NOT NULL,
        told INTEGER NOT NULL DEFAULT 0
      ) STRICT;
      CREATE INDEX jobs_in_turn ON jobs(state, priority DESC, sequence);
      CREATE TABLE labels(
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY(job, key)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX labels_by_value ON labels(key, value, job);
      CREATE TABLE events(
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        time INTEGER NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY(job, number)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE processes(
        job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
        pid INTEGER NOT NULL,
        start_ticks INTEGER NOT NULL,
        boot_id TEXT NOT NULL
      ) STRICT;
    )sql",
    "ALTER TABLE jobs ADD COLUMN trace_parent TEXT NOT NULL DEFAULT '';",
};

constexpr char kSelectJobs[] =
    "SELECT *, (SELECT json_group_object(key, value) FROM labels WHERE job = sequence) AS labels "
    "FROM jobs ";

// --- errors ---

absl::Status UnknownJob(const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrFormat("there is no job '%s'", id)),
                    "UNKNOWN_JOB");
}

absl::Status WrongState(const Job& job, std::string_view what) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrFormat("job '%s' is %s: %s", job.id, Name(job.state), what)),
                    "JOB_STATE");
}

absl::Status DiskFull(const std::string& message) {
  return WithReason(absl::ResourceExhaustedError(message), "DISK_FULL");
}

bool IsFull(int error) { return error == ENOSPC || error == EDQUOT; }

absl::Status ErrnoError(const std::string& message, int error) {
  const std::string text = absl::StrCat(message, ": ", std::strerror(error));
  return IsFull(error) ? DiskFull(text) : absl::UnavailableError(text);
}

absl::Status StatusOf(const SQLite::Exception& error, const std::string& path, int system_error) {
  const std::string text = absl::StrFormat("job store '%s': %s", path, error.what());
  switch (error.getErrorCode() & 0xff) {
    case SQLITE_FULL:
      return DiskFull(text);
    case SQLITE_IOERR:
      return IsFull(system_error) ? DiskFull(text) : absl::UnavailableError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    default:
      return absl::UnavailableError(text);
  }
}

// What is corrupt says where.
absl::Status Named(const absl::Status& status, const std::string& path) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat("job store '", path, "' is corrupt: ", status.message()));
}
template <typename Value>
absl::StatusOr<Value> Named(absl::StatusOr<Value> value, const std::string& path) {
  if (value.ok()) return value;
  return Named(value.status(), path);
}

// --- values ---

std::string RandomId() {
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::uniform_int_distribution<size_t> digit(0, kDigits.size() - 1);
  std::string id(12, '\0');
  for (char& c : id) c = kDigits[digit(random)];
  return id;
}

void Bind(Statement& statement, int index, int value) { statement.bind(index, value); }
void Bind(Statement& statement, int index, int64_t value) { statement.bind(index, value); }
void Bind(Statement& statement, int index, const std::string& value) {
  statement.bind(index, value);
}
void Bind(Statement& statement, int index, std::string_view value) {
  statement.bind(index, std::string(value));
}
void Bind(Statement& statement, int index, absl::Time value) {
  statement.bind(index, absl::ToUnixMicros(value));
}
template <typename Value>
void Bind(Statement& statement, int index, const std::optional<Value>& value) {
  if (value.has_value()) {
    Bind(statement, index, *value);
  } else {
    statement.bind(index);
  }
}

std::string Text(Statement& row, const char* column) { return row.getColumn(column).getString(); }
int64_t Integer(Statement& row, const char* column) { return row.getColumn(column).getInt64(); }
absl::Time Time(Statement& row, const char* column) {
  return absl::FromUnixMicros(Integer(row, column));
}
std::optional<absl::Time> MaybeTime(Statement& row, const char* column) {
  if (row.isColumnNull(column)) return std::nullopt;
  return Time(row, column);
}

// A prepared statement with its values, from its first step until the end of the scope: one that is not
// reset keeps the log from being folded into the file.
class Query {
 public:
  template <typename... Values>
  explicit Query(Statement& statement, const Values&... values) : statement_(statement) {
    int index = 0;
    (Bind(statement_, ++index, values), ...);
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query() { statement_.tryReset(); }

  bool Step() { return statement_.executeStep(); }
  int Run() { return statement_.exec(); }  // rows changed
  Statement& row() { return statement_; }

 private:
  Statement& statement_;
};

// --- rows ---

absl::StatusOr<NewJob> SubmittedOf(Statement& row) {
  DW_ASSIGN_OR_RETURN(auto labels, ParseLabels(Text(row, "labels")));
  return NewJob{.model = Text(row, "model"),
                .config = Text(row, "config"),
                .labels = std::move(labels),
                .priority = static_cast<int>(Integer(row, "priority")),
                .resumed_from = Text(row, "resumed_from"),
                .request_id = Text(row, "request_id"),
                .request_digest = Text(row, "request_digest"),
                .trace_parent = Text(row, "trace_parent")};
}

absl::Status ReadTold(Statement& row, Job* job) {
  if (!row.isColumnNull("progress")) {
    DW_ASSIGN_OR_RETURN(job->progress, ParseProgress(Text(row, "progress")));
  }
  if (!row.isColumnNull("evaluation")) {
    DW_ASSIGN_OR_RETURN(job->evaluation, ParseEvaluation(Text(row, "evaluation")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Job> JobOf(Statement& row) {
  DW_ASSIGN_OR_RETURN(NewJob submitted, SubmittedOf(row));
  const absl::StatusOr<JobState> state = ParseJobState(Text(row, "state"));
  if (!state.ok()) return absl::DataLossError(state.status().message());
  Job job = {.sequence = Integer(row, "sequence"),
             .id = Text(row, "id"),
             .submitted = std::move(submitted),
             .state = *state,
             .reason = Text(row, "reason"),
             .create_time = Time(row, "create_time"),
             .start_time = MaybeTime(row, "start_time"),
             .end_time = MaybeTime(row, "end_time"),
             .attempts = static_cast<int>(Integer(row, "attempts")),
             .failures = static_cast<int>(Integer(row, "failures")),
             .retry_time = MaybeTime(row, "retry_time"),
             .model_version = Text(row, "model_version"),
             .last_event = Integer(row, "last_event"),
             .disk_bytes = Integer(row, "disk_bytes")};
  DW_RETURN_IF_ERROR(ReadTold(row, &job));
  return job;
}

absl::StatusOr<std::vector<Job>> JobsOf(Statement& rows) {
  std::vector<Job> jobs;
  while (rows.executeStep()) {
    DW_ASSIGN_OR_RETURN(Job job, JobOf(rows));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

// --- steps ---

// `job` after `change`.
absl::StatusOr<Job> Changed(Job job, const JobChange& change, absl::Time now) {
  const std::optional<JobState> next = Next(job.state, change.action);
  if (!next.has_value()) {
    return WrongState(job, absl::StrFormat("%s is not possible then", Name(change.action)));
  }
  job.state = *next;
  job.reason = ToUtf8(change.reason);
  job.retry_time = change.retry_time;
  if (change.failure) ++job.failures;
  if (change.action == JobAction::kStart) {
    ++job.attempts;
    if (!job.start_time.has_value()) job.start_time = std::max(now, job.create_time);
  }
  if (!change.model_version.empty()) job.model_version = change.model_version;
  if (IsTerminal(job.state)) job.end_time = std::max(now, job.start_time.value_or(job.create_time));
  ++job.last_event;
  return job;
}

JobEvent StateEvent(const Job& job, absl::Time now) {
  return {.number = job.last_event,
          .time = now,
          .kind = JobEventKind::kState,
          .state = job.state,
          .text = job.reason,
          .attempt = job.attempts};
}

// Whether so many of them are kept at most.
bool IsTold(JobEventKind kind) {
  return kind == JobEventKind::kProgress || kind == JobEventKind::kWarning;
}

std::string QueryText(const JobQuery& query) {
  std::string text = absl::StrCat(kSelectJobs, "WHERE sequence < ? AND (? = '' OR model = ?)");
  if (!query.states.empty()) {
    const auto quote = [](std::string* out, JobState state) {
      absl::StrAppend(out, "'", std::string(Name(state)), "'");
    };
    absl::StrAppend(&text, " AND state IN (", absl::StrJoin(query.states, ", ", quote), ")");
  }
  for (size_t i = 0; i < query.labels.size(); ++i) {
    text += " AND sequence IN (SELECT job FROM labels WHERE key = ? AND value = ?)";
  }
  return text + " ORDER BY sequence DESC LIMIT ?";
}

// --- the lock ---

// Held by one open store of a path, in whatever process.
class StoreLock {
 public:
  static absl::StatusOr<StoreLock> Take(const std::string& path) {
    const std::string name = path + ".lock";
    StoreLock lock(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (lock.file_ < 0) return ErrnoError(absl::StrFormat("cannot open '%s'", name), errno);
    if (flock(lock.file_, LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) return ErrnoError(absl::StrFormat("cannot lock '%s'", name), errno);
    return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                          "another server has the job store '%s': it holds '%s'", path, name)),
                      "JOBS_ELSEWHERE");
  }
  StoreLock(StoreLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  StoreLock& operator=(StoreLock&&) = delete;
  ~StoreLock() {
    if (file_ >= 0) close(file_);
  }

 private:
  explicit StoreLock(int file) : file_(file) {}

  int file_;
};

}  // namespace

// The connection. Members that reach the file throw SQLite::Exception, but for Read and Write, which
// catch it.
struct JobStore::Database {
  Database(StoreLock held, const std::string& name)
      : lock(std::move(held)),
        path(name),
        connection(name, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 5000) {}

  // What `body` returns.
  template <typename Body>
  auto Read(Body body) -> decltype(body());
  // The same, in a transaction: if it is OK all of it is on the disk, else nothing has happened.
  template <typename Body>
  auto Write(Body body) -> decltype(body());

  absl::Status Prepare();
  absl::StatusOr<size_t> Version();
  absl::Status CheckSize();
  absl::Status Migrate(size_t version);

  // Kept from use to use.
  Statement& Prepared(const std::string& sql);

  absl::StatusOr<Job> Find(const std::string& id);
  absl::StatusOr<std::optional<Job>> FindRequest(const std::string& request_id,
                                                 const std::string& request_digest);
  absl::StatusOr<std::vector<Job>> List(const JobQuery& query);
  std::string Insert(const NewJob& job, absl::Time now);
  absl::StatusOr<Job> Save(const Job& job, absl::Time state_time);
  void InsertEvent(int64_t job, const JobEvent& event);
  absl::Status InsertTold(Job job, std::vector<JobEvent> events);

  const StoreLock lock;
  const std::string path;
  SQLite::Database connection;
  std::map<std::string, Statement> statements;  // by text
};

template <typename Body>
auto JobStore::Database::Read(Body body) -> decltype(body()) {
  try {
    return Named(body(), path);
  } catch (const SQLite::Exception& error) {
    return StatusOf(error, path, sqlite3_system_errno(connection.getHandle()));
  }
}

template <typename Body>
auto JobStore::Database::Write(Body body) -> decltype(body()) {
  return Read([&]() -> decltype(body()) {
    SQLite::Transaction transaction(connection, SQLite::TransactionBehavior::IMMEDIATE);
    auto result = body();
    if (result.ok()) transaction.commit();
    return result;
  });
}

// What is no whole file of ours is left as it is.
absl::Status JobStore::Database::Prepare() {
  const std::string check = connection.execAndGet("PRAGMA quick_check(1)").getString();
  if (check != "ok") return absl::DataLossError(check);
  DW_ASSIGN_OR_RETURN(const size_t version, Version());
  connection.exec("PRAGMA foreign_keys = ON");
  connection.exec("PRAGMA synchronous = FULL");
  connection.exec("PRAGMA journal_size_limit = 16777216");
  if (connection.execAndGet("PRAGMA journal_mode = WAL").getString() != "wal") {
    return absl::UnavailableError(absl::StrFormat("job store '%s' cannot have a log (WAL)", path));
  }
  DW_RETURN_IF_ERROR(CheckSize());
  return Migrate(version);
}

// SQLite takes what a file lacks at its end for zeros. Only with the log folded in must all be there: a
// kill may leave half a page behind, whose whole is in the log. Nothing can be said while somebody who reads
// the file, a backup say, holds the log open.
absl::Status JobStore::Database::CheckSize() {
  const int64_t pages = connection.execAndGet("PRAGMA page_count").getInt64();
  const int64_t expected = pages * connection.execAndGet("PRAGMA page_size").getInt64();
  Statement folded(connection,
                   "PRAGMA wal_checkpoint(PASSIVE)");  // busy, pages of the log, folded in
  folded.executeStep();
  const bool whole = folded.getColumn(0).getInt() == 0 &&
                     folded.getColumn(1).getInt() == folded.getColumn(2).getInt();
  if (!whole) return absl::OkStatus();
  std::error_code error;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (size == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("it has %d bytes, its pages %d", size, expected));
}

absl::StatusOr<size_t> JobStore::Database::Version() {
  const int version = connection.execAndGet("PRAGMA user_version").getInt();
  const int tables = connection.execAndGet("SELECT count(*) FROM sqlite_schema").getInt();
  if (version < 0 || (version == 0) != (tables == 0)) {
    return absl::DataLossError(absl::StrFormat("%d tables of version %d", tables, version));
  }
  if (version <= static_cast<int>(kMigrations.size())) return version;
  return absl::FailedPreconditionError(
      absl::StrFormat("job store '%s' is of version %d; this program knows versions up to %d", path,
                      version, kMigrations.size()));
}

absl::Status JobStore::Database::Migrate(size_t version) {
  for (; version < kMigrations.size(); ++version) {
    DW_RETURN_IF_ERROR(Write([&] {
      connection.exec(kMigrations[version]);
      connection.exec(absl::StrCat("PRAGMA user_version = ", version + 1));
      return absl::OkStatus();
    }));
  }
  return SyncFolderOf(path);
}

Statement& JobStore::Database::Prepared(const std::string& sql) {
  return statements.try_emplace(sql, connection, sql).first->second;
}

absl::StatusOr<Job> JobStore::Database::Find(const std::string& id) {
  Query query(Prepared(absl::StrCat(kSelectJobs, "WHERE id = ?")), id);
  if (!query.Step()) return UnknownJob(id);
  return JobOf(query.row());
}

absl::StatusOr<std::optional<Job>> JobStore::Database::FindRequest(
    const std::string& request_id, const std::string& request_digest) {
  if (request_id.empty()) return std::nullopt;
  Query query(Prepared(absl::StrCat(kSelectJobs, "WHERE request_id = ?")), request_id);
  if (!query.Step()) return std::nullopt;
  DW_ASSIGN_OR_RETURN(Job job, JobOf(query.row()));
  if (job.submitted.request_digest == request_digest) return job;
  return WithReason(
      absl::AlreadyExistsError(absl::StrFormat(
          "request_id '%s' is that of another request, job '%s'", request_id, job.id)),
      "REQUEST_ID_REUSED");
}

absl::StatusOr<std::vector<Job>> JobStore::Database::List(const JobQuery& query) {
  Statement rows(connection, QueryText(query));
  int index = 0;
  Bind(rows, ++index, query.before > 0 ? query.before : std::numeric_limits<int64_t>::max());
  Bind(rows, ++index, query.model);
  Bind(rows, ++index, query.model);
  for (const auto& [key, value] : query.labels) {
    Bind(rows, ++index, key);
    Bind(rows, ++index, value);
  }
  Bind(rows, ++index, query.limit);
  return JobsOf(rows);
}

// Returns its id.
std::string JobStore::Database::Insert(const NewJob& job, absl::Time now) {
  std::string id = RandomId();
  while (Query(Prepared("SELECT 1 FROM jobs WHERE id = ?"), id).Step()) id = RandomId();
  const std::optional<std::string> request_id =
      job.request_id.empty() ? std::nullopt : std::optional(job.request_id);
  Query(Prepared("INSERT INTO jobs(id, model, config, priority, resumed_from, request_id, "
                 "request_digest, trace_parent, state, reason, state_time, create_time, "
                 "last_event) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 'QUEUED', '', ?, ?, 1)"),
        id, job.model, job.config, job.priority, job.resumed_from, request_id, job.request_digest,
        job.trace_parent, now, now)
      .Run();
  const int64_t sequence = connection.getLastInsertRowid();
  for (const auto& [key, value] : job.labels) {
    Query(Prepared("INSERT INTO labels(job, key, value) VALUES(?, ?, ?)"), sequence, key,
          ToUtf8(value))
        .Run();
  }
  InsertEvent(sequence, {.number = 1, .time = now});
  return id;
}

// Writes a job that went to a state, and the event that tells it; returns what was written.
absl::StatusOr<Job> JobStore::Database::Save(const Job& job, absl::Time state_time) {
  Query(Prepared("UPDATE jobs SET state = ?, reason = ?, state_time = ?, start_time = ?, "
                 "end_time = ?, retry_time = ?, attempts = ?, failures = ?, model_version = ?, "
                 "last_event = ? WHERE sequence = ?"),
        Name(job.state), job.reason, state_time, job.start_time, job.end_time, job.retry_time,
        job.attempts, job.failures, job.model_version, job.last_event, job.sequence)
      .Run();
  InsertEvent(job.sequence, StateEvent(job, state_time));
  return Find(job.id);
}

void JobStore::Database::InsertEvent(int64_t job, const JobEvent& event) {
  Query(Prepared("INSERT INTO events(job, number, time, event) VALUES(?, ?, ?, ?)"), job,
        event.number, event.time, ToJson(event))
      .Run();
}

absl::Status JobStore::Database::InsertTold(Job job, std::vector<JobEvent> events) {
  Query counted(Prepared("SELECT told FROM jobs WHERE sequence = ?"), job.sequence);
  if (!counted.Step()) return UnknownJob(job.id);
  int64_t told = Integer(counted.row(), "told");
  for (JobEvent& event : events) {
    if (event.kind == JobEventKind::kProgress) job.progress = event.progress;
    if (event.kind == JobEventKind::kEvaluation) job.evaluation = event.evaluation;
    if (IsTold(event.kind) && ++told > kMaxToldEvents) continue;
    event.number = ++job.last_event;
    InsertEvent(job.sequence, event);
  }
  const auto json = [](const auto& value) {
    return value.has_value() ? std::optional(ToJson(*value)) : std::nullopt;
  };
  Query(Prepared("UPDATE jobs SET progress = ?, evaluation = ?, last_event = ?, told = ? "
                 "WHERE sequence = ?"),
        json(job.progress), json(job.evaluation), job.last_event, told, job.sequence)
      .Run();
  return absl::OkStatus();
}

template <typename Body>
auto JobStore::Read(Body body) const {
  MutexLock lock(mutex_);
  Database& database = *database_;
  return database.Read([&] { return body(database); });
}

template <typename Body>
auto JobStore::Write(Body body) {
  MutexLock lock(mutex_);
  Database& database = *database_;
  return database.Write([&] { return body(database); });
}

void JobStore::Tell(const std::string& id) const {
  if (on_change_) on_change_(id);
}

JobStore::JobStore(std::unique_ptr<Database> database) : database_(std::move(database)) {}
JobStore::~JobStore() = default;

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::string& path) {
  DW_ASSIGN_OR_RETURN(StoreLock lock, StoreLock::Take(path));
  try {
    auto database = std::make_unique<Database>(std::move(lock), path);
    DW_RETURN_IF_ERROR(database->Read([&] { return database->Prepare(); }));
    return absl::WrapUnique(new JobStore(std::move(database)));
  } catch (const SQLite::Exception& error) {
    return StatusOf(error, path, 0);
  }
}

void JobStore::OnChange(std::function<void(const std::string& job_id)> on_change) {
  on_change_ = std::move(on_change);
}

absl::StatusOr<Job> JobStore::Submit(const NewJob& job, absl::Time now) {
  DW_RETURN_IF_ERROR(Validate(job));
  bool made = false;
  absl::StatusOr<Job> submitted = Write([&](Database& database) -> absl::StatusOr<Job> {
    DW_ASSIGN_OR_RETURN(std::optional<Job> known,
                        database.FindRequest(job.request_id, job.request_digest));
    if (known.has_value()) return *std::move(known);
    made = true;
    return database.Find(database.Insert(job, now));
  });
  if (made && submitted.ok()) Tell(submitted->id);
  return submitted;
}

absl::StatusOr<std::optional<Job>> JobStore::FindRequest(const std::string& request_id,
                                                         const std::string& request_digest) const {
  return Read([&](Database& database) { return database.FindRequest(request_id, request_digest); });
}

absl::StatusOr<Job> JobStore::Get(const std::string& id) const {
  return Read([&](Database& database) { return database.Find(id); });
}

absl::StatusOr<std::vector<Job>> JobStore::List(const JobQuery& query) const {
  return Read([&](Database& database) { return database.List(query); });
}

absl::StatusOr<std::map<JobState, int64_t>> JobStore::CountByState() const {
  using Counts = std::map<JobState, int64_t>;
  return Read([](Database& database) -> absl::StatusOr<Counts> {
    Counts counts;
    for (const JobState state : kJobStates) {
      Query query(database.Prepared("SELECT count(*) AS jobs FROM jobs WHERE state = ?"),
                  Name(state));
      if (query.Step()) counts[state] = Integer(query.row(), "jobs");
    }
    return counts;
  });
}

absl::StatusOr<Job> JobStore::Apply(const std::string& id, const JobChange& change,
                                    absl::Time now) {
  absl::StatusOr<Job> applied = Write([&](Database& database) -> absl::StatusOr<Job> {
    DW_ASSIGN_OR_RETURN(Job job, database.Find(id));
    DW_ASSIGN_OR_RETURN(job, Changed(std::move(job), change, now));
    return database.Save(job, now);
  });
  if (!applied.ok()) return applied;
  if (IsTerminal(applied->state)) CountEnd(applied->state);
  Tell(id);
  return applied;
}

void JobStore::CountEnd(JobState state) {
  MutexLock lock(mutex_);
  ++ended_[state];
}

std::map<JobState, int64_t> JobStore::EndedByState() const {
  MutexLock lock(mutex_);
  return ended_;
}

absl::StatusOr<std::optional<Job>> JobStore::NextDue(absl::Time now) const {
  return Read([&](Database& database) -> absl::StatusOr<std::optional<Job>> {
    Query query(database.Prepared(absl::StrCat(kSelectJobs,
                                               "WHERE state = 'QUEUED' AND (retry_time IS NULL OR "
                                               "retry_time <= ? OR state_time > ?) "
                                               "ORDER BY priority DESC, sequence LIMIT 1")),
                now, now);
    if (!query.Step()) return std::nullopt;
    return JobOf(query.row());
  });
}

absl::StatusOr<absl::Time> JobStore::NextRetry(absl::Time now) const {
  return Read([&](Database& database) -> absl::StatusOr<absl::Time> {
    Query query(database.Prepared("SELECT min(retry_time) AS next FROM jobs WHERE state = 'QUEUED' "
                                  "AND retry_time > ? AND state_time <= ?"),
                now, now);
    query.Step();
    return MaybeTime(query.row(), "next").value_or(absl::InfiniteFuture());
  });
}

absl::Status JobStore::AddEvents(const std::string& id, std::vector<JobEvent> events) {
  if (events.empty()) return absl::OkStatus();
  if (std::ranges::count(events, JobEventKind::kState, &JobEvent::kind) > 0) {
    return absl::InvalidArgumentError("a program tells no change of state");
  }
  DW_RETURN_IF_ERROR(Write([&](Database& database) -> absl::Status {
    DW_ASSIGN_OR_RETURN(Job job, database.Find(id));
    if (IsTerminal(job.state)) return WrongState(job, "it takes no more events");
    return database.InsertTold(std::move(job), std::move(events));
  }));
  Tell(id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JobEvent>> JobStore::Events(const std::string& id, int64_t after,
                                                       int limit) const {
  return Read([&](Database& database) -> absl::StatusOr<std::vector<JobEvent>> {
    DW_ASSIGN_OR_RETURN(const Job job, database.Find(id));
    Query query(database.Prepared("SELECT number, time, event FROM events "
                                  "WHERE job = ? AND number > ? ORDER BY number LIMIT ?"),
                job.sequence, after, limit);
    std::vector<JobEvent> events;
    while (query.Step()) {
      DW_ASSIGN_OR_RETURN(JobEvent event, ParseEvent(Text(query.row(), "event")));
      event.number = Integer(query.row(), "number");
      event.time = Time(query.row(), "time");
      events.push_back(std::move(event));
    }
    return events;
  });
}

absl::Status JobStore::SetProcess(const JobProcess& process) {
  return Write([&](Database& database) -> absl::Status {
    DW_ASSIGN_OR_RETURN(const Job job, database.Find(process.job_id));
    Query(database.Prepared("INSERT OR REPLACE INTO processes(job, pid, start_ticks, boot_id) "
                            "VALUES(?, ?, ?, ?)"),
          job.sequence, process.pid, process.start_ticks, process.boot_id)
        .Run();
    return absl::OkStatus();
  });
}

absl::Status JobStore::ClearProcess(const std::string& id) {
  return Write([&](Database& database) {
    Query(database.Prepared("DELETE FROM processes "
                            "WHERE job = (SELECT sequence FROM jobs WHERE id = ?)"),
          id)
        .Run();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<JobProcess>> JobStore::Processes() const {
  return Read([](Database& database) -> absl::StatusOr<std::vector<JobProcess>> {
    Query query(
        database.Prepared("SELECT id, pid, start_ticks, boot_id FROM processes "
                          "JOIN jobs ON job = sequence ORDER BY sequence"));
    std::vector<JobProcess> processes;
    while (query.Step()) {
      processes.push_back({.job_id = Text(query.row(), "id"),
                           .pid = static_cast<int>(Integer(query.row(), "pid")),
                           .start_ticks = Integer(query.row(), "start_ticks"),
                           .boot_id = Text(query.row(), "boot_id")});
    }
    return processes;
  });
}

absl::Status JobStore::SetDiskBytes(const std::string& id, int64_t bytes) {
  return Write([&](Database& database) {
    Query query(database.Prepared("UPDATE jobs SET disk_bytes = ? WHERE id = ?"), bytes, id);
    return query.Run() > 0 ? absl::OkStatus() : UnknownJob(id);
  });
}

absl::StatusOr<int64_t> JobStore::DiskBytes() const {
  return Read([](Database& database) -> absl::StatusOr<int64_t> {
    Query query(database.Prepared("SELECT coalesce(sum(disk_bytes), 0) AS bytes FROM jobs"));
    query.Step();
    return Integer(query.row(), "bytes");
  });
}

absl::Status JobStore::Delete(const std::string& id) {
  DW_RETURN_IF_ERROR(Write([&](Database& database) -> absl::Status {
    DW_ASSIGN_OR_RETURN(const Job job, database.Find(id));
    if (!IsTerminal(job.state)) return WrongState(job, "it has not ended");
    Query(database.Prepared("DELETE FROM jobs WHERE sequence = ?"), job.sequence).Run();
    return absl::OkStatus();
  }));
  Tell(id);
  return absl::OkStatus();
}

}  // namespace deweather
