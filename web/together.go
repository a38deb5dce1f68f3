package web

import (
	"fmt"
	"sync"
)

// together asks what does not need each other's answer at the same time. It
// returns the first error in the order of the questions. A question that panics
// has failed, as one does that is asked by a page alone: it ends its page and
// not the process.
func together(questions ...func() error) error {
	errs := make([]error, len(questions))
	var asked sync.WaitGroup
	for i, question := range questions {
		asked.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					errs[i] = fmt.Errorf("a question panicked: %T", v)
				}
			}()
			errs[i] = question()
		})
	}
	asked.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
