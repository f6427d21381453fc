// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// Recording is one machine to live on and to record.
type Recording struct {
	Profile  string
	Seed     uint64
	Duration time.Duration
}

// Name is that of its file.
func (r Recording) Name() string { return fmt.Sprintf("healthy-%s-%d.rfx", r.Profile, r.Seed) }

// Settings say how to record.
type Settings struct {
	// Reflexctl is the program that records, Output the directory that receives the
	// recordings.
	Reflexctl, Output string
	KernelName        string
	// Beside is how many machines run at once.
	Beside int
	Notice io.Writer
}

// start is how long a machine may take to boot and to hand its recording over.
const start = 5 * time.Minute

// Record records all of them, several machines side by side, and returns an error
// for those that could not be.
func Record(ctx context.Context, set Settings, all []Recording) error {
	for _, r := range all {
		if _, err := ByName(r.Profile); err != nil {
			return err
		}
	}
	kernel, err := vmtest.Fetch(ctx, set.KernelName, set.Notice)
	if err != nil {
		return err
	}
	guest, err := vmtest.BuildProgram(ctx, "github.com/otelcol-reflex/reflex/test/cmd/healthy-guest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(guest))
	if err := os.MkdirAll(set.Output, 0o755); err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		errs    []error
		running sync.WaitGroup
	)
	places := make(chan struct{}, max(set.Beside, 1))
	for _, r := range all {
		running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			err := set.record(ctx, kernel, guest, r)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", r.Name(), err))
			}
			fmt.Fprintf(set.Notice, "%s: %s\n", r.Name(), verdict(err))
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func verdict(err error) string {
	if err != nil {
		return "failed"
	}
	return "recorded"
}

func (s *Settings) record(ctx context.Context, kernel vmtest.Kernel, guest string, r Recording) error {
	console, err := os.Create(filepath.Join(s.Output, r.Name()+".log"))
	if err != nil {
		return err
	}
	defer console.Close()
	m := vmtest.Machine{
		Kernel: kernel,
		Files: []vmtest.File{
			{Guest: "/soak/healthy-guest", Host: guest, Mode: 0o755},
			{Guest: "/soak/reflexctl", Host: s.Reflexctl, Mode: 0o755},
		},
		Command: []string{
			"/soak/healthy-guest", "run", "-profile", r.Profile, "-seed", strconv.FormatUint(r.Seed, 10),
			"-duration", r.Duration.String(), "-reflexctl", "/soak/reflexctl", "-output", "/out/" + r.Name(),
		},
		Env:     []string{"GOMAXPROCS=2"},
		Modules: []string{"null_blk"}, // a disk, for page cache and block requests
		CPUs:    1, MemoryMiB: 2048, Beside: true, Timeout: r.Duration + start,
		Output: console, Console: console,
	}
	exit, err := m.Run(ctx, s.Output)
	if err == nil && exit != 0 {
		err = fmt.Errorf("it ended with exit code %d; see %s", exit, console.Name())
	}
	return err
}
