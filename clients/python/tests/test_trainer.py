"""The trainer's half of docs/protocol/site.md: a folder in, two files out."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np

from fabric_client import trainer, weights

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples/python-trainer/sgd.py"
CLIENT = pathlib.Path(__file__).parents[1]


def lay_out(folder: pathlib.Path, held: bool = True) -> dict[str, str]:
    """Makes the folder of one round, as the site's agent does."""
    for name in ("training", "test", "model", "out", "data"):
        (folder / name).mkdir()
    (folder / "training/training.csv").write_text("a,b,label\n2,10,0\n4,30,1\n2,20,0\n4,40,1\n")
    (folder / "test/test.csv").write_text("a,b,label\n" + ("2,10,0\n4,40,1\n" if held else ""))
    weights.write(
        folder / "model/weights.safetensors",
        {"linear.bias": np.zeros(2), "linear.weight": np.array([[-1.0, 1.0], [0.0, 0.0]]), "normalise.mean": np.array([3.0, 25.0]), "normalise.scale": np.array([1.0, 5.0])},
    )
    hp = {"run": "run-1", "round": "2", "tenant": "t", "site": "s", "inputs": "2", "hidden": "0", "classes": "2", "epochs": "3", "batch_size": "2"}
    hp |= {"learning_rate": "0.5", "proximal_mu": "0", "seed": "18446744073709551615", "trainer": "exec"}
    return {
        "SM_HPS": json.dumps(hp),
        "SM_CHANNEL_TRAINING": str(folder / "training"),
        "SM_CHANNEL_TEST": str(folder / "test"),
        "SM_CHANNEL_MODEL": str(folder / "model"),
        "SM_MODEL_DIR": str(folder / "out"),
        "SM_OUTPUT_DATA_DIR": str(folder / "data"),
    }


class TestRound(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def answer(self) -> tuple[weights.Weights, dict[str, int]]:
        update = weights.read(self.folder / "out/update.safetensors")
        return update, json.loads((self.folder / "data/metrics.json").read_text())

    def test_the_update_is_what_changed(self) -> None:
        def train(w, data, round):
            self.assertEqual((3, 2, 0.5, 2**64 - 1), (round.epochs, round.batch_size, round.learning_rate, round.seed))
            np.testing.assert_array_equal([[-1, -3], [1, 1], [-1, -1], [1, 3]], data.x)
            np.testing.assert_array_equal([0, 1, 0, 1], data.y)
            self.assertEqual(("a", "b"), data.columns)
            self.assertEqual({"linear.weight", "linear.bias"}, set(w))
            w["linear.bias"] += 0.25
            return w, 3, None

        trainer.run(train, lay_out(self.folder))
        update, metrics = self.answer()
        np.testing.assert_array_equal([0.25, 0.25], update["linear.bias"])
        np.testing.assert_array_equal(np.zeros((2, 2)), update["linear.weight"])
        # By hand: scores of the start are (1, -1) and (-1, 1), both right, each with loss ln(1 + e^-2).
        self.assertEqual({"examples": 3, "evaluated": 2, "correct": 2, "lossMicros": 253856}, metrics)

    def test_without_held_out_rows(self) -> None:
        trainer.run(lambda w, data, round: (w, 4, None), lay_out(self.folder, held=False))
        self.assertEqual({"examples": 4, "evaluated": 0, "correct": 0, "lossMicros": 0}, self.answer()[1])

    def test_metrics_of_ones_own(self) -> None:
        trainer.run(lambda w, data, round: (w, 4, {"evaluated": 2, "correct": 1, "loss": 1.5}), lay_out(self.folder))
        self.assertEqual({"examples": 4, "evaluated": 2, "correct": 1, "lossMicros": 1500000}, self.answer()[1])

    def test_what_cannot_be_an_answer(self) -> None:
        environ = lay_out(self.folder)
        cases = {
            "no tuple": lambda w, d, r: w,
            "a tensor is missing": lambda w, d, r: ({"linear.bias": w["linear.bias"]}, 4, None),
            "another shape": lambda w, d, r: ({**w, "linear.bias": np.zeros(3)}, 4, None),
            "a NaN": lambda w, d, r: ({**w, "linear.bias": np.array([0, float("nan")])}, 4, None),
            "no rows": lambda w, d, r: (w, 0, None),
            "too many rows": lambda w, d, r: (w, 5, None),
            "more right than there are": lambda w, d, r: (w, 4, {"evaluated": 1, "correct": 2, "loss": 0.0}),
            "metrics without loss": lambda w, d, r: (w, 4, {"evaluated": 1, "correct": 1}),
        }
        for name, train in cases.items():
            with self.subTest(name), self.assertRaises(trainer.TrainerError):
                trainer.run(train, environ)
        self.assertFalse((self.folder / "out/update.safetensors").exists())

    def test_the_same_order_gives_the_same_bytes(self) -> None:
        environ = lay_out(self.folder) | {"PYTHONPATH": str(CLIENT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
        seen = set()
        for _ in range(2):
            subprocess.run([sys.executable, str(EXAMPLE)], env=environ, check=True)
            seen.add((self.folder / "out/update.safetensors").read_bytes())
        self.assertEqual(1, len(seen))


class TestRehearsal(unittest.TestCase):
    def test_a_trainer_learns_without_a_fabric(self) -> None:
        rows = [f"{i % 7},{i % 5},{int(i % 7 > 3)}" for i in range(60)]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "rows.csv"
            path.write_text("a,b,label\n" + "\n".join(rows) + "\n")
            environ = {"PYTHONPATH": str(CLIENT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
            said = subprocess.run([sys.executable, str(EXAMPLE), "--rehearse", str(path), "--learning-rate", "0.5"], env=environ, check=True, capture_output=True, text=True).stdout
        self.assertIn("after round 0: ", said)
        self.assertIn("after round 5: 12 of 12 held-out rows right", said)


class TestModel(unittest.TestCase):
    def test_a_hidden_layer_is_relu(self) -> None:
        # As in domain/model: x = (1, -2), hidden before ReLU (0, -2, 1), scores by hand (3, 1).
        w = {
            "hidden.weight": np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
            "hidden.bias": np.array([1.0, 0.0, 0.0]),
            "output.weight": np.array([[9.0, 9.0], [9.0, 9.0], [2.0, 0.0]]),
            "output.bias": np.array([1.0, 1.0]),
        }
        np.testing.assert_array_equal([[3.0, 1.0]], trainer.logits(w, np.array([[1.0, -2.0]])))


if __name__ == "__main__":
    unittest.main()
