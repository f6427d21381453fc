// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/ceiling/guest"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// Options say what to play.
type Options struct {
	// Dist holds otelcol-reflex and reflexguard. Output receives everything.
	Dist, Output string
	// KernelName is what vmtest calls the kernel.
	KernelName string
	Revision   string
	Arms       []ceiling.Arm
	Calm       time.Duration
	Seed       uint64
	// Progress receives lines for people.
	Progress io.Writer
}

const (
	// memoryMiB is for the limits of four services at once.
	memoryMiB = 6144
	// timeout bounds the boot; all arms take about eighteen minutes.
	timeout = 25 * time.Minute
)

// Play plays the arms and returns the report on what Output holds afterwards.
func Play(ctx context.Context, o Options) (*ceiling.Report, error) {
	if err := vmtest.Built(o.Dist, "otelcol-reflex", "reflexguard"); err != nil {
		return nil, err
	}
	kernel, err := vmtest.Fetch(ctx, o.KernelName, o.Progress)
	if err != nil {
		return nil, err
	}
	program, err := vmtest.BuildProgram(ctx, "github.com/otelcol-reflex/reflex/test/cmd/ceiling-guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(program))
	if err := o.clear(); err != nil {
		return nil, err
	}
	console, err := os.Create(filepath.Join(o.Output, "console.log"))
	if err != nil {
		return nil, err
	}
	defer console.Close()
	var arms []string
	for i := range o.Arms {
		arms = append(arms, o.Arms[i].Name)
	}
	heard := &ear{progress: o.Progress, begun: time.Now()}
	m := vmtest.Machine{
		Kernel: kernel, MemoryMiB: memoryMiB, CPUs: 2, Timeout: timeout,
		Files: []vmtest.File{
			{Guest: "/ceiling/ceiling-guest", Host: program, Mode: 0o755},
			{Guest: "/ceiling/otelcol-reflex", Host: filepath.Join(o.Dist, "otelcol-reflex"), Mode: 0o755},
			{Guest: "/ceiling/reflexguard", Host: filepath.Join(o.Dist, "reflexguard"), Mode: 0o755},
		},
		Command: []string{
			"/ceiling/ceiling-guest", "run", "-collector", "/ceiling/otelcol-reflex", "-guard", "/ceiling/reflexguard",
			"-arms", strings.Join(arms, ","), "-calm", o.Calm.String(), "-seed", strconv.FormatUint(o.Seed, 10),
		},
		Output: &vmtest.Lines{Line: heard.line}, Console: console,
	}
	exit, err := m.Run(ctx, o.Output)
	if err == nil && exit != 0 {
		err = fmt.Errorf("it ended with exit code %d", exit)
	}
	if err != nil {
		return nil, errors.Join(err, heard.why())
	}
	return Conclude(o, kernel.Release)
}

// clear removes what an earlier run left.
func (o *Options) clear() error {
	if err := os.MkdirAll(o.Output, 0o755); err != nil {
		return err
	}
	errs := []error{os.RemoveAll(filepath.Join(o.Output, "log"))}
	for i := range ceiling.Arms {
		name := ceiling.Arms[i].Name
		errs = append(errs, os.RemoveAll(filepath.Join(o.Output, guest.RecordingFile(name))), os.RemoveAll(filepath.Join(o.Output, guest.AnswersFile(name))))
	}
	return errors.Join(errs...)
}

// Conclude reports on the recordings in o.Output, made on a kernel.
func Conclude(o Options, kernel string) (*ceiling.Report, error) {
	var played []ceiling.Played
	for i := range o.Arms {
		p := ceiling.Played{Arm: o.Arms[i]}
		if err := recording.ReadJSON(o.Output, guest.RecordingFile(p.Arm.Name), &p.Recording); err != nil {
			return nil, err
		}
		f, err := os.Open(filepath.Join(o.Output, guest.AnswersFile(p.Arm.Name)))
		if err != nil {
			return nil, err
		}
		p.Answers, err = recording.ReadAnswers(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		played = append(played, p)
	}
	r := ceiling.Analyse(ceiling.DefaultLoad(), played)
	r.Kernel, r.Revision, r.Host = kernel, o.Revision, fmt.Sprintf("%d CPUs", runtime.NumCPU())
	return r, r.Write(o.Output, played)
}

// ear passes on what the machine tells.
type ear struct {
	progress      io.Writer
	begun         time.Time
	failure, last string
}

func (e *ear) line(line []byte) {
	switch event, ok := recording.ParseEvent(line); {
	case ok && event.Kind == recording.EventError:
		e.failure = event.Text
	case ok:
		fmt.Fprintf(e.progress, "%6.0f s  %s: %s\n", time.Since(e.begun).Seconds(), event.Arm, event.Text)
	case len(line) > 0:
		e.last = string(line)
		if strings.HasPrefix(e.last, "vmtest: ") {
			fmt.Fprintln(e.progress, e.last)
		}
	}
}

// why is what the machine said of its end, if anything.
func (e *ear) why() error {
	switch {
	case e.failure != "":
		return errors.New(e.failure)
	case e.last != "":
		return fmt.Errorf("its last words: %s", e.last)
	}
	return nil
}
