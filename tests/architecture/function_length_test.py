"""No function of the tree is too long, and the check can tell."""

import pathlib
import unittest

import function_length


class TreeTest(unittest.TestCase):
    def test_no_function_is_too_long(self):
        self.assertEqual(list(function_length.too_long(pathlib.Path(__file__).parents[2])), [])


class FunctionsTest(unittest.TestCase):
    def lengths(self, text):
        return [(first, n) for first, n, _ in function_length.functions(text.splitlines())]

    def test_free_function(self):
        self.assertEqual(self.lengths("int F(int x) {\n  return x;\n}\n"), [(1, 3)])

    def test_member_with_qualifiers_in_a_class(self):
        text = "class A {\n public:\n  int F() const override {\n    return 1;\n  }\n};\n"
        self.assertEqual(self.lengths(text), [(3, 3)])

    def test_heading_over_several_lines(self):
        text = "absl::Status F(int first,\n               int second) {\n  return {};\n}\n"
        self.assertEqual(self.lengths(text), [(1, 4)])

    def test_constructor_with_initialisers(self):
        text = "A::A(int x)\n    : x_(x), y_{1} {\n  Start();\n}\n"
        self.assertEqual(self.lengths(text), [(1, 4)])

    def test_control_flow_and_namespaces_are_not_functions(self):
        text = "namespace a {\nvoid F() {\n  if (G()) {\n    H();\n  }\n}\n}\n"
        self.assertEqual(self.lengths(text), [(2, 5)])

    def test_lambda_that_is_an_argument_ends_where_it_begins(self):
        text = ("void F() {\n  Take<A, B>(\n      \"a\", [](int x,\n               int y) {\n        G();\n"
                "        H();\n      });\n  Take<A>(\n      [] { G(); });\n  if (x) {\n    G();\n  }\n}\n")
        self.assertEqual(self.lengths(text), [(1, 13), (3, 5)])

    def test_test_case(self):
        self.assertEqual(self.lengths("TEST(A, B) {\n  F();\n}\n"), [(1, 3)])


if __name__ == "__main__":
    unittest.main()
