package runtime

import (
	"sync"

	"github.com/atom-fabric/fabric/domain/model"
)

const (
	// batchWeights is from how many weights on requests of a model are answered
	// together: below, the weights are in the cache anyhow, and waiting is all that
	// a batch adds.
	batchWeights = 64 << 10
	batchRows    = 1024 // in one batch; beyond it the next one begins
)

// A batcher answers concurrent requests of one model together. Whoever finds
// nobody at work goes to work at once, alone; those that come meanwhile are the next
// batch. So a request waits for the batch that is at work and for no clock: at
// most the time of a forward pass of batchRows rows.
type batcher struct {
	net *model.Network

	mu      sync.Mutex
	working bool
	next    []*batch // those that wait, each with room for more or full
}

// A batch is the rows of several requests.
type batch struct {
	rows  [][]float64
	ready chan bool // true: whoever receives it does the work; closed: it is done
	out   [][]float64
	err   error
}

func newBatcher(net *model.Network) *batcher { return &batcher{net: net} }

// probabilities answers rows that are known to fit the model.
func (b *batcher) probabilities(rows [][]float64) ([][]float64, error) {
	weights := 0
	for _, layer := range b.net.Layers {
		weights += len(layer.Weight)
	}
	if weights < batchWeights {
		return b.net.Probabilities(rows)
	}
	b.mu.Lock()
	if !b.working {
		b.working = true
		b.mu.Unlock()
		out, err := b.net.Together(rows)
		b.pass()
		return out, err
	}
	mine := b.join(len(rows))
	from := len(mine.rows)
	mine.rows = append(mine.rows, rows...)
	b.mu.Unlock()
	if lead := <-mine.ready; lead {
		mine.out, mine.err = b.net.Together(mine.rows)
		close(mine.ready)
		b.pass()
	}
	if mine.err != nil {
		return nil, mine.err
	}
	return mine.out[from : from+len(rows)], nil
}

// join returns the batch that so many more rows go into. Of the holder of mu.
func (b *batcher) join(count int) *batch {
	if n := len(b.next); n > 0 && len(b.next[n-1].rows)+count <= batchRows {
		return b.next[n-1]
	}
	fresh := &batch{ready: make(chan bool, 1)}
	b.next = append(b.next, fresh)
	return fresh
}

// pass gives the work to one of the next batch, if there is one.
func (b *batcher) pass() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.next) == 0 {
		b.working = false
		return
	}
	first := b.next[0]
	b.next = b.next[1:]
	first.ready <- true // it has room: nobody sends twice
}
