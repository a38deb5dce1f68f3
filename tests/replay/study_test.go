package replay

import (
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// studies are studies of runs of two rounds, and a run that is ended at a rung.
func studies() []scenario {
	study := func(name string, book func() *script.Book, during func(*driver)) scenario {
		return scenario{workflow: contract.Study.Name, name: name, during: during,
			world: federation(func(w *script.World) { w.Book = book() }),
			input: func() any { return book().Study() }}
	}
	of := func(trials, parallel, repeats int, change func(*script.Book)) func() *script.Book {
		return func() *script.Book {
			b := script.NewBook(trials, parallel, repeats)
			b.Base.Params.Rounds = 1
			if change != nil {
				change(b)
			}
			return b
		}
	}
	halved := func() *script.Book {
		b := script.NewBook(3, 1, 1)
		b.Base.Params.Rounds, b.Spec.Halving = 5, &tuning.Halving{First: 2, Factor: 2}
		return b
	}
	return []scenario{
		study("completed", of(2, 1, 2, nil), nil),
		study("parallel", of(4, 2, 1, nil), nil),
		study("halved", halved, nil),
		study("exhausted", of(3, 1, 1, func(b *script.Book) {
			b.Refuse[2] = &tuning.Refusal{Reason: "the privacy budget is exhausted", Status: tuning.StudyExhausted}
		}), nil),
		study("within-a-budget", of(9, 4, 1, func(b *script.Book) { b.Rounds = 3 }), nil),
		study("stopped", of(9, 2, 1, nil), func(d *driver) {
			d.reached("EndTrial/1/1")
			require.NoError(d.t, contract.StopStudy.Send(d.ctx, d.client, d.id, contract.StopRequest{Actor: "ann", Reason: "enough"}))
		}),
		study("restarted", of(3, 2, 1, nil), func(d *driver) {
			d.reached("BeginTrial/2/1")
			d.restart()
		}),
		{workflow: contract.TrainingRun.Name, name: "halved", world: federation(func(w *script.World) {
			w.Book = halved()
			w.Book.Try(1, 0)
			w.Book.Try(2, 1) // a better one, at the rung
		}), input: func() any {
			in := script.Run("run-1-1", 5)
			in.Trial = &contract.StudyRun{Study: "study-1", Number: 1, Repeat: 1, First: 2, Factor: 2}
			return in
		}},
	}
}
