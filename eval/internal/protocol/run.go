// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/recording"
)

// Plan says what to compare on what.
type Plan struct {
	Files     []recording.File
	Detectors []detector.Entry
	Workers   int
	// Done, if set, is told of every recording when all detectors have seen it,
	// from one goroutine at a time.
	Done func(result *FileResult, finished int)
}

// FileResult is one recording and what the detectors made of it.
type FileResult struct {
	File      recording.File
	Recording *recording.Recording // without its rows
	Traces    []Trace              // one a detector
	Measures  []Measures           // one a detector
	Err       error                // why the recording was left out
}

// Run replays everything, the largest files first so that workers end together.
// Results come in the order of the plan's files.
func Run(ctx context.Context, plan Plan) ([]FileResult, error) {
	results := make([]FileResult, len(plan.Files))
	order := make([]int, len(plan.Files))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(plan.Files[b].Size - plan.Files[a].Size) })
	queue := make(chan int, len(order))
	for _, i := range order {
		queue <- i
	}
	close(queue)
	var (
		workers  sync.WaitGroup
		mutex    sync.Mutex
		finished int
	)
	for range max(1, plan.Workers) {
		workers.Go(func() {
			for i := range queue {
				if ctx.Err() != nil {
					return
				}
				results[i] = one(plan.Files[i], plan.Detectors)
				mutex.Lock()
				finished++
				if plan.Done != nil {
					plan.Done(&results[i], finished)
				}
				mutex.Unlock()
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.Err != nil && !errors.Is(r.Err, recording.ErrUnlabelled) {
			return results, fmt.Errorf("replay: %w", r.Err)
		}
	}
	return results, nil
}

func one(file recording.File, detectors []detector.Entry) FileResult {
	result := FileResult{File: file}
	r, err := file.Read()
	if err != nil {
		result.Err = err
		return result
	}
	part := Rest(r)
	for _, e := range detectors {
		t := Replay(r, e)
		result.Traces = append(result.Traces, t)
		result.Measures = append(result.Measures, measure(part, e, t, len(r.Rows)))
	}
	r.Rows = nil
	result.Recording = r
	return result
}
