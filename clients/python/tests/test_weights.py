"""The canonical form, held to the vectors that every other reader is held to."""

import json
import pathlib
import tempfile
import unittest

import numpy as np

from fabric_client import weights

VECTORS = pathlib.Path(__file__).parents[3] / "tests/vectors/safetensors/vectors.json"


class TestVectors(unittest.TestCase):
    def setUp(self) -> None:
        self.vectors = json.loads(VECTORS.read_text())

    def test_accepted_are_read_to_the_value(self) -> None:
        self.assertGreater(len(self.vectors["accepted"]), 3)
        for vector in self.vectors["accepted"]:
            with self.subTest(vector["name"]):
                got = weights.decode(bytes.fromhex(vector["hex"]))
                self.assertEqual([t["name"] for t in vector["tensors"]], list(got))
                for tensor in vector["tensors"]:
                    self.assertEqual(tuple(tensor["shape"]), got[tensor["name"]].shape)
                    want = [float(value) for value in tensor["values"]]
                    np.testing.assert_array_equal(got[tensor["name"]].ravel(), np.array(want))

    def test_refused_are_refused(self) -> None:
        self.assertGreater(len(self.vectors["refused"]), 10)
        for vector in self.vectors["refused"]:
            with self.subTest(vector["name"]), self.assertRaises(weights.FormError):
                weights.decode(bytes.fromhex(vector["hex"]))


class TestWriting(unittest.TestCase):
    def test_what_is_written_is_read_back(self) -> None:
        tensors = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([0.5])}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.safetensors"
            weights.write(path, tensors)
            got = weights.read(path)
        self.assertEqual(["a", "b"], list(got))
        np.testing.assert_array_equal(got["b"], tensors["b"])

    def test_the_form_is_the_vectors_own(self) -> None:
        for vector in json.loads(VECTORS.read_text())["accepted"]:
            if all(t["dtype"] == "F32" for t in vector["tensors"]):
                content = bytes.fromhex(vector["hex"])
                self.assertEqual(content, weights.encode(weights.decode(content)), vector["name"])

    def test_what_has_no_form_is_refused(self) -> None:
        for name, value in {"a": [float("nan")], "b": [1e39], "c": np.empty(0), "": [1.0], 'd"': [1.0], "é": [1.0]}.items():
            with self.subTest(name), self.assertRaises(weights.FormError), np.errstate(over="ignore"):
                weights.encode({name: value})


if __name__ == "__main__":
    unittest.main()
