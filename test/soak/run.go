// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Plan says what to soak.
type Plan struct {
	// Recordings are files.
	Recordings []string
	// Recombined is how long the recombinations are together, Length how long one
	// of them is.
	Recombined, Length time.Duration
	// Trials is how often each fault is spliced in.
	Trials  int
	Seed    uint64
	Workers int
	Notice  io.Writer
}

// Run soaks, one tape after another so that one is in memory, and on each with all
// workers.
func Run(ctx context.Context, p Plan) (*Report, error) {
	if len(p.Recordings) == 0 {
		return nil, errors.New("soak: there is no recording")
	}
	began := time.Now()
	r := newReport()
	streams := int((p.Recombined + p.Length - 1) / max(p.Length, 1))
	for i, path := range p.Recordings {
		t, err := Load(path)
		if err != nil {
			return nil, err
		}
		r.recording(t)
		share := func(of int) int { return (i+1)*of/len(p.Recordings) - i*of/len(p.Recordings) }
		if err := p.tape(ctx, r, t, uint64(i), share(streams), share(p.Trials)); err != nil {
			return nil, err
		}
		fmt.Fprintf(p.Notice, "%s: %v soaked\n", t.Name, t.Span().Round(time.Second))
	}
	r.conclude(time.Since(began))
	return r, nil
}

// tape soaks one tape: as it is, in so many recombinations, and with so many of
// each fault.
func (p *Plan) tape(ctx context.Context, r *Report, t *Tape, number uint64, streams, trials int) error {
	var jobs []func() error
	tally := func(to func(*Tally), s *Stream, seed uint64, span time.Duration) func() error {
		return func() error {
			one, err := soak(s, seed, span)
			if err == nil {
				to(one)
			}
			return err
		}
	}
	jobs = append(jobs, tally(r.replayed, Replay(t), 0, 0))
	for k := range streams {
		seed := p.Seed<<32 | number<<16 | uint64(k+1)
		jobs = append(jobs, tally(r.recombination, Recombine(t, rand.New(rand.NewPCG(seed, 8))), seed, p.Length))
	}
	for f, fault := range Faults() {
		for k := range trials {
			random := rand.New(rand.NewPCG(p.Seed<<32|number<<16|uint64(k), uint64(f)))
			jobs = append(jobs, func() error {
				trial, err := try(t, fault, random)
				r.trial(fault, trial)
				return err
			})
		}
	}
	return p.all(ctx, jobs)
}

// all does the jobs, several at once.
func (p *Plan) all(ctx context.Context, jobs []func() error) error {
	var (
		mu      sync.Mutex
		errs    []error
		working sync.WaitGroup
	)
	next := make(chan func() error)
	for range max(p.Workers, 1) {
		working.Go(func() {
			for job := range next {
				if err := job(); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, job := range jobs {
		if ctx.Err() != nil {
			break
		}
		next <- job
	}
	close(next)
	working.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
