"""Which file of ours may include what: one folder is one target, an include follows an arrow.

Every file is read, not compiled: `#include` lines are followed through our own headers, so that
what a translation unit sees indirectly counts too. TARGETS is the list of arrows; ARCHITECTURE.md
draws it.
"""

import dataclasses
import pathlib
import re
import sys

SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
TOP_FOLDERS = ("model", "training", "server", "client", "proto", "tests")

# Libraries by the beginning of an include; what is in none of them and has a folder is unknown.
LIBRARIES = {
    "torch": ("torch/", "ATen/", "c10/"),
    "cuda": ("cuda", "cub/", "thrust/", "cooperative_groups"),
    "protobuf": ("google/protobuf/", "google/rpc/"),
    "grpc": ("grpc/", "grpcpp/", "grpc++/"),
    "absl": ("absl/",),
    "spdlog": ("spdlog/",),
    "prometheus": ("prometheus/",),
    "sqlite": ("sqlite3.h", "SQLiteCpp/"),
    "json": ("nlohmann/",),
    "flags": ("CLI/",),
    "crypto": ("openssl/",),
    "boost": ("boost/",),
    "gloo": ("gloo/",),
    "jemalloc": ("jemalloc/",),
    "opencv": ("opencv2/",),
    "codecs": ("jpeglib.h", "jerror.h", "png.h", "webp/", "tiff", "lcms2", "libexif/"),
    "tests": ("gtest/", "gmock/", "benchmark/"),
    "client": ("deweather/",),  # of the C++ library, as programs elsewhere include them
    "system": ("sys/", "arpa/", "netinet/", "linux/"),
}
EVERYWHERE = {"absl", "spdlog", "system"}


@dataclasses.dataclass(frozen=True)
class Target:
    folder: str
    arrows: tuple = ()  # targets whose headers it may include; dw_base is one of everybody's
    libraries: tuple = ()  # beside EVERYWHERE
    private: tuple = ()  # libraries that its .cc files may include and its headers may not
    internal: tuple = ()  # headers for its own .cc files only, under the rules of those


TARGETS = {
    "dw_base": Target("model/base", (), (), ("crypto",)),
    "dw_config": Target("proto/config", (), ("protobuf",)),
    "dw_image": Target("model/image", (), (), ("opencv", "codecs")),
    "dw_kernels": Target("model/kernels", (), ("torch", "cuda")),
    "dw_model": Target("model", ("dw_kernels",), ("torch",), ("json", "crypto")),
    "dw_datasets": Target(
        "training/datasets",
        ("dw_image",),
        (),
        ("json",),
        internal=("dataset_folder.h", "datasets_state.h"),
    ),
    "dw_jobs": Target("training/jobs", (), (), ("sqlite", "json")),
    "dw_report": Target(
        "training/report",
        ("dw_image",),
        ("json",),
        ("opencv", "protobuf", "boost"),
        internal=("canvas.h",),
    ),
    "dw_weather": Target("training/weather", (), (), ("opencv",), internal=("turn.h",)),
    "dw_training": Target(
        "training",
        ("dw_model", "dw_image", "dw_weather", "dw_report"),
        ("torch", "json"),
        ("gloo",),
    ),
    "dw_batch": Target("server/batch", ("dw_image",)),
    "dw_restore": Target(
        "server/restore", ("dw_batch", "dw_model", "dw_image"), ("prometheus",), ("torch",)
    ),
    "dw_log": Target("server/log", (), (), ("json",)),
    "dw_access": Target("server/access", ("dw_config",), (), ("crypto", "protobuf")),
    "dw_proto": Target("proto", ("dw_config",), ("protobuf", "grpc")),
    "dw_rpc": Target(
        "server/rpc",
        ("dw_access", "dw_proto", "dw_config", "dw_image", "dw_restore", "dw_jobs", "dw_datasets", "dw_log"),
        ("protobuf", "grpc"),
    ),
    "dw_http": Target(
        "server/http",
        ("dw_rpc", "dw_access", "dw_proto", "dw_restore"),
        ("protobuf", "grpc"),
        ("boost", "json", "crypto"),
        internal=("asio.h", "connection.h", "event.h", "received_body.h", "session.h", "tls_contexts.h"),
    ),
    "dw_server": Target(
        "server",
        ("dw_http", "dw_rpc", "dw_access", "dw_proto", "dw_config", "dw_restore", "dw_batch", "dw_jobs", "dw_datasets", "dw_log"),
        ("protobuf", "grpc"),
        ("prometheus", "flags"),
        internal=("doors.h", "metric_family.h", "metrics_text.h"),
    ),
    "dw_client": Target(
        "client",
        ("dw_proto", "dw_config", "dw_image"),
        ("protobuf", "grpc", "json", "flags"),
        ("crypto",),
    ),
    "dw_client_cpp": Target(
        "client/cpp",
        ("dw_client", "dw_proto", "dw_config", "deweather_client"),
        ("protobuf", "grpc", "client"),
    ),
    # Of these the interface test says more: the standard library and each other alone.
    "deweather_client": Target("client/cpp/include/deweather", (), ("client",)),
}

# A main.cc belongs to its program and may include what it wires; none may see Torch.
MAIN_LIBRARIES = ("protobuf", "grpc", "prometheus", "json", "flags", "jemalloc")
PROGRAMS = {
    "server/main.cc": Target("server", ("dw_server",), MAIN_LIBRARIES),
    "training/main.cc": Target(
        "training", ("dw_training", "dw_report", "dw_weather", "dw_config"), MAIN_LIBRARIES
    ),
    "client/main.cc": Target("client", ("dw_client", "dw_proto"), MAIN_LIBRARIES),
}

# The generated headers that dw_config holds; one beside its .proto in a target's folder is that
# target's, all others are dw_proto's.
CONFIG_MESSAGES = re.compile(r"(access_tokens|(server|train)_config)\.pb\.h$")

INCLUDE = re.compile(r'^\s*#\s*include\s*(<([^>]+)>|"([^"]+)")', re.MULTILINE)


def sources(root):
    """Paths of our own C++ files, relative to root, sorted."""
    found = []
    for top in TOP_FOLDERS:
        for path in (root / top).rglob("*"):
            if path.suffix in SOURCE_SUFFIXES:
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def includes(root, path):
    text = (root / path).read_text(encoding="utf-8")
    return [angled or quoted for _, angled, quoted in INCLUDE.findall(text)]


def target_of(path):
    """Name of the target that a file belongs to: its folder's; None if the folder is no target."""
    folder = path.rpartition("/")[0]
    names = [n for n, t in TARGETS.items() if folder == t.folder]
    return names[0] if names else None


def library_of(include):
    for name, beginnings in LIBRARIES.items():
        if include.startswith(beginnings):
            return name
    return None


def is_generated(include):
    return include.endswith(".pb.h") and not include.startswith("google/protobuf/")


def owner_of(include):
    if is_generated(include):
        other = "dw_config" if CONFIG_MESSAGES.search(include) else "dw_proto"
        return target_of(include) or other
    return target_of(include)


def is_ours(include):
    return is_generated(include) or include.startswith(tuple(top + "/" for top in TOP_FOLDERS))


def descendants(name):
    """The target and all that its arrows lead to."""
    found = {name, "dw_base"}
    for arrow in TARGETS[name].arrows:
        found |= descendants(arrow)
    return found


class Tree:
    """The sources under a root, with what each file sees."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files = sources(self.root)
        self.direct = {path: includes(self.root, path) for path in self.files}

    def seen(self, path):
        """Libraries that a file sees, each with the chain of includes that leads there."""
        found = {}
        done = set()
        queue = [(path, (path,))]
        while queue:
            current, chain = queue.pop(0)
            for include in self.direct.get(current, ()):
                library = "protobuf" if is_generated(include) else library_of(include)
                if library is not None:
                    found.setdefault(library, chain + (include,))
                elif include not in done:
                    done.add(include)
                    queue.append((include, chain + (include,)))
        if "grpc" in found:  # grpcpp includes protobuf
            found.setdefault("protobuf", found["grpc"])
        return found

    def sees_file(self, path, wanted):
        """Whether a file includes one of ours, itself or through others."""
        done, queue = set(), [path]
        while queue:
            for include in self.direct.get(queue.pop(), ()):
                if include not in done:
                    done.add(include)
                    queue.append(include)
        return wanted in done

    def problems(self):
        return [problem for path in self.files for problem in self.problems_of(path)]

    def problems_of(self, path):
        rule = rule_of(path)
        if rule is None:
            return [f"{path}: belongs to no target"]
        problems = []
        for include in self.direct[path]:
            problem = self.problem_of_include(path, include, rule)
            if problem:
                problems.append(f"{path}: {problem}")
        return problems + self.problems_of_what_is_seen(path, rule)

    def problem_of_include(self, path, include, rule):
        if is_ours(include):
            if not is_generated(include) and include not in self.direct:
                return f"no such header: {include}"
            owner = owner_of(include)
            if owner is None or owner not in rule.targets:
                test_header = path.startswith("tests/") and include.startswith("tests/")
                return None if test_header else f"no arrow from {rule.name} to {owner}: {include}"
            if include in internal_headers(TARGETS[owner]) and target_of(path) != owner:
                return f"internal to {owner}: {include}"
            return None
        library = library_of(include)
        if library is None:
            unknown = "/" in include
            return f"unknown library, add it to LIBRARIES: {include}" if unknown else None
        if library not in rule.libraries:
            return f"{rule.name} must not include {library}: {include}"
        return None

    def problems_of_what_is_seen(self, path, rule):
        problems = []
        seen = self.seen(path)
        if "torch" in seen and "protobuf" in seen:
            both = f"{' > '.join(seen['torch'])} and {' > '.join(seen['protobuf'])}"
            problems.append(f"{path}: sees both Torch and protobuf: {both}")
        for library in rule.unseen & seen.keys():
            chain = " > ".join(seen[library])
            problems.append(f"{path}: {rule.name} must not see {library}: {chain}")
        return problems


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one file may include, and what it may not even see through other headers."""

    name: str
    targets: set
    libraries: set
    unseen: set = frozenset()


def internal_headers(target):
    return {f"{target.folder}/{name}" for name in target.internal}


def rule_of(path):
    if path in PROGRAMS:
        program = PROGRAMS[path]
        targets = set(program.arrows) | {"dw_base"}
        return Rule(path, targets, EVERYWHERE | set(program.libraries), {"torch"})
    if path.startswith("tests/"):
        return rule_of_test(path)
    name = target_of(path)
    if name is None:
        return None
    target = TARGETS[name]
    targets = {name, "dw_base"} | set(target.arrows)
    libraries = EVERYWHERE | set(target.libraries)
    unseen = set()
    internal = path in internal_headers(target)
    if path.endswith(".h") and not internal:
        unseen |= set(target.private)
    else:
        libraries |= set(target.private)
    if name in ("dw_rpc", "dw_http", "dw_server", "dw_client"):
        unseen.add("torch")
    return Rule(name, targets, libraries, unseen)


def rule_of_test(path):
    """A target's tests may include what the target's sources may, and what lies further down."""
    folder = path.split("/")[1]
    name = "dw_" + folder
    below = descendants(name) if name in TARGETS else set(TARGETS)
    libraries = EVERYWHERE | {"tests", "json", "flags", "boost"}
    for target in (TARGETS[n] for n in below):
        libraries |= set(target.libraries) | set(target.private)
    return Rule(f"tests/{folder}", below, libraries)


def main():
    """Lists the sources, `--list-torch-free` only those that see no Torch header."""
    tree = Tree(pathlib.Path(__file__).parents[2])
    torch_free = sys.argv[1:] == ["--list-torch-free"]
    for path in tree.files:
        if not (torch_free and "torch" in tree.seen(path)):
            print(path)


if __name__ == "__main__":
    main()
