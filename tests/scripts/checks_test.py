#!/usr/bin/python3
"""Shows that each static check in scripts/ fails when it should, and only then.

Every case lays out a small tree, runs the real script on it with --root, and looks at exit status and text.
"""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "lib"))


class CheckCase(unittest.TestCase):
    """Runs scripts/<check> on trees made from dictionaries of path → text."""

    check = ""

    def run_check(self, tree):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in tree.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return subprocess.run(
                [str(ROOT / "scripts" / self.check), "--root", folder],
                capture_output=True, text=True, check=False)

    def assert_passes(self, tree):
        result = self.run_check(tree)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def assert_finds(self, tree, *expected):
        result = self.run_check(tree)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        for text in expected:
            self.assertIn(text, result.stdout + result.stderr)


class Layers(CheckCase):
    check = "check-layers"

    def test_lower_layers_and_own_folder_are_fine(self):
        self.assert_passes({
            "base/a.h": "#pragma once\n",
            "hashtable/t.h": '#include <vector>\n#include "base/a.h"\n',
            "hashtable/t.cc": '#include "hashtable/t.h"\n',
            "engine/storage/s.h": '#include <rocksdb/db.h>\n',
            "engine/e.cc": '#include "engine/storage/s.h"\n#include "hashtable/t.h"\n',
            "tests/engine/e_test.cc": '#include "engine/storage/s.h"\n#include <rocksdb/db.h>\n',
        })

    def test_back_edge(self):
        self.assert_finds({"base/a.cc": '\n#include "engine/e.h"\n', "engine/e.h": "\n"},
                          'base/a.cc:2: base/ includes "engine/e.h", a higher layer')

    def test_storage_may_not_include_the_engine_above_it(self):
        self.assert_finds({"engine/storage/s.cc": '#include "engine/e.h"\n', "engine/e.h": "\n"},
                          "engine/storage/s.cc:1:")

    def test_coordination_is_above_the_engine(self):
        tree = {"engine/e.h": "\n", "engine/coordination/c.h": "\n", "tap/t.h": "\n"}
        self.assert_passes({**tree, "engine/coordination/c.cc": '#include "engine/e.h"\n#include "tap/t.h"\n'})
        self.assert_finds({**tree, "engine/e.cc": '#include "engine/coordination/c.h"\n'}, "engine/e.cc:1:")
        self.assert_finds({**tree, "tap/t.cc": '#include "engine/coordination/c.h"\n'}, "tap/t.cc:1:")

    def test_folders_of_one_layer(self):
        self.assert_finds({"checkpoint/c.h": '#include "hashtable/t.h"\n', "hashtable/t.h": "\n"},
                          "a folder of its own layer")
        self.assert_finds({"cli/c.cc": '#include "server/s.h"\n', "server/s.h": "\n"}, "cli/c.cc:1:")

    def test_product_code_does_not_include_tests(self):
        self.assert_finds({"engine/e.cc": '#include "tests/t.h"\n', "tests/t.h": "\n"}, "a higher layer")

    def test_an_include_must_be_named_from_the_root(self):
        self.assert_finds({"engine/e.cc": '#include "e.h"\n', "engine/e.h": "\n"}, "named from its root")
        self.assert_finds({"engine/e.cc": '#include "../server/s.h"\n', "server/s.h": "\n"}, "engine/e.cc:1:")

    def test_generated_headers_need_their_proto(self):
        self.assert_passes({"tap/t.cc": '#include "proto/t.grpc.pb.h"\n', "proto/t.proto": "\n"})
        self.assert_finds({"tap/t.cc": '#include "proto/t.pb.h"\n'}, "tap/t.cc:1:")

    def test_unknown_folder(self):
        self.assert_finds({"newfolder/n.cc": '#include "base/a.h"\n', "base/a.h": "\n"}, "no folder of the layer")

    def test_third_party_headers_stay_at_their_edge(self):
        self.assert_finds({"engine/e.h": "#  include <rocksdb/db.h>\n"}, "engine/e.h:1:")
        self.assert_finds({"engine/e.h": "#include <event2/event.h>\n"}, "belongs to server only")
        self.assert_finds({"server/s.cc": "#include <spdlog/spdlog.h>\n"}, "belongs to base/log.cc only")

    def test_an_empty_tree_does_not_pass(self):
        self.assertEqual(self.run_check({}).returncode, 2)


def function(lines, head="void F() {"):
    """A function of `lines` lines in all."""
    return head + "\n" + "  x();\n" * (lines - 2) + "}\n"


class Sizes(CheckCase):
    check = "check-sizes"

    def test_at_the_limits(self):
        self.assert_passes({"a.cc": function(70), "b.cc": "// x\n" * 800})

    def test_file_too_long(self):
        self.assert_finds({"a.h": "// x\n" * 801}, "a.h:1: 801 lines in file")
        self.assert_finds({"scripts/s": "#!/bin/bash\n" + "x\n" * 800}, "801 lines in file")

    def test_function_too_long(self):
        self.assert_finds({"a.cc": "\n" + function(71)}, "a.cc:2: 71 lines in function: void F()")

    def test_every_kind_of_function(self):
        heads = [
            "TEST(Suite, Name) {",
            "int C::F(int a = 3) const noexcept override {",
            "auto F() -> std::vector<int> {",
            "C::C(int a)\n    : a_{a}, b_(f({1, 2})), c_{} {",
            "bool operator==(const A& a, const B& b) {",
            "void operator()(int x) {",
            "C::~C() {",
            "template <class T>\nT Max(T a, T b) requires Ordered<T> {",
            "void F() CAIRN_REQUIRES(mutex_) {",
            "const auto f = [](int x) {",
            "int F(const std::map<int, int>& m = {{1, 2}}) {",
            "explicit operator bool() const {",
        ]
        for head in heads:
            for wrap in ("{}", "namespace a::b {{\nnamespace {{\n{}}}\n}}\n", "struct S final : T<int> {{\n public:\n{}}};\n"):
                with self.subTest(head=head, wrap=wrap):
                    self.assert_finds({"a.cc": wrap.format(function(75, head))}, "lines in function")

    def test_several_short_functions_are_not_one_long(self):
        short = function(40)
        self.assert_passes({"a.cc": "namespace n {\nclass C : public B {\n public:\n" + short * 3 + "};\n" + short + "}\n"})

    def test_data_is_not_a_function(self):
        rows = "  {1, f(2)},\n" * 100
        self.assert_passes({"a.cc": "const Row kRows[] = {\n" + rows + "};\n" +
                            "constexpr std::array<Row, 100> kMore{{\n" + rows + "}};\n" +
                            "enum class E : int {\n" + "  kX,\n" * 100 + "};\n"})

    def test_braces_in_literals_and_comments_do_not_count(self):
        text = ('void F() {\n  f("}", \'}\', R"x(}}")x");  // }\n  /* } */ int n = 1\'000;\n' + "  x();\n" * 70 + "}\n")
        self.assert_finds({"a.cc": text}, "74 lines in function")

    def test_branches_of_the_preprocessor(self):
        text = "#ifdef A\nvoid F() {\n#else\nvoid F(int) {\n#endif\n" + "  x();\n" * 70 + "}\n"
        self.assert_finds({"a.cc": text}, "lines in function: void F()")

    def test_unbalanced_braces_are_an_error(self):
        self.assert_finds({"a.cc": "void F() {\n"}, "do not balance")
        self.assert_finds({"a.cc": "void F() {}\n}\n"}, "a.cc:2: braces do not balance")

    def test_python(self):
        self.assert_finds({"a.py": "def f():\n" + "    x()\n" * 70}, "a.py:1: 71 lines in function: f")
        self.assert_finds({"tool": "#!/usr/bin/python3\ndef f():\n" + "    x()\n" * 70}, "tool:2:")

    def test_finds_every_test_of_this_tree(self):
        """The scanner sees as many TEST bodies in the real tests as there are lines that begin one."""
        loader = importlib.machinery.SourceFileLoader("check_sizes", str(ROOT / "scripts" / "check-sizes"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_sizes", loader))
        loader.exec_module(module)
        seen = 0
        for path in sorted((ROOT / "tests").rglob("*_test.cc")):
            text = path.read_text(encoding="utf-8")
            plain = module.without_preprocessor(module.source_tree.strip_comments_and_literals(text))
            found = sum(1 for _, _, name in module.functions(plain) if name.startswith("TEST"))
            expected = sum(1 for line in plain.split("\n") if line.startswith(("TEST(", "TEST_F(", "TEST_P(")))
            self.assertEqual(found, expected, path)
            seen += found
        self.assertGreater(seen, 100)


class Words(CheckCase):
    check = "check-words"

    def test_clean(self):
        self.assert_passes({"a.cc": "// mkdtemp wants cairn_XXXXXX\n", "b.md": "Done.\n"})

    def test_each_mark_is_found(self):
        for text in ("// TODO: later", "# fixme", "XXX here", "/* HACK */", "tbd:", "wip"):
            with self.subTest(text=text):
                self.assert_finds({"docs/a.md": "\n" + text + "\n"}, "docs/a.md:2: unfinished work")

    def test_bad_line_ends(self):
        self.assert_finds({"a.cc": "int a; \n"}, "a.cc:1: white space")
        self.assert_finds({"a.cc": "int a;\r\n"}, "white space")
        self.assert_finds({"a.cc": "int a;"}, "no newline")

    def test_conflict(self):
        self.assert_finds({"a.cc": "<" * 7 + " HEAD\n"}, "merge conflict")

    def test_data_is_left_alone(self):
        self.assert_passes({"a.cc": "\n", "tests/proto/corpus/x": "TODO \r\n", "b.bin": "a\0 TODO"})


class Format(CheckCase):
    check = "check-format"

    def test_formatted(self):
        self.assert_passes({".clang-format": "BasedOnStyle: Google\n", "a.cc": "int a;\n"})

    def test_unformatted(self):
        self.assert_finds({".clang-format": "BasedOnStyle: Google\n", "d/a.h": "int  a ;\n"}, "d/a.h:1:")

    def test_an_empty_tree_does_not_pass(self):
        self.assertNotEqual(self.run_check({}).returncode, 0)


del CheckCase  # has no tests of its own

if __name__ == "__main__":
    unittest.main()
