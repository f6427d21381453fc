// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command outage plays the outages of package outage in a virtual machine and reports
// what became of the story. Its exit code is 1 if a promise was broken, 2 if that could
// not be found out.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/outage"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	switch {
	case errors.Is(err, errBroken):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "outage:", err)
		os.Exit(2)
	}
}

var errBroken = errors.New("a promise was broken")

func run(ctx context.Context) error {
	dist := flag.String("dist", "../dist", "`directory` with otelcol-reflex and reflexguard")
	output := flag.String("output", "../dist/outage", "`directory` for the report and what the machine left")
	kernel := flag.String("kernel", "6.12", "kernel of the virtual machine")
	revision := flag.String("revision", "unknown", "what is tested, for the record")
	only := flag.String("only", "", "play only the outages whose name contains it, and none")
	flag.Parse()
	work, err := os.MkdirTemp("", "reflex-outage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "guest.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "github.com/otelcol-reflex/reflex/test/outage/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest's tests: %w\n%s", err, bytes.TrimSpace(out))
	}
	k, err := vmtest.Fetch(ctx, *kernel, os.Stderr)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(*output); err != nil { // of a run before
		return err
	}
	log := &bytes.Buffer{}
	m := &vmtest.Machine{
		Kernel: k, MemoryMiB: 3072,
		Files: []vmtest.File{
			{Guest: "/bin/guest.test", Host: binary, Mode: 0o755},
			{Guest: "/bin/reflexguard", Host: filepath.Join(*dist, "reflexguard"), Mode: 0o755},
			{Guest: "/bin/otelcol-reflex", Host: filepath.Join(*dist, "otelcol-reflex"), Mode: 0o755},
		},
		Command: []string{"/bin/guest.test", "-test.v", "-test.timeout=19m", "-test.run=^TestOutages$"},
		Env:     []string{"REFLEX_OUTAGE=1", "REFLEX_OUTAGE_ONLY=" + *only},
		Output:  io.MultiWriter(log, progress()), Timeout: 20 * time.Minute,
	}
	exit, runErr := m.Run(ctx, *output)
	if err := os.MkdirAll(*output, 0o755); err == nil {
		_ = os.WriteFile(filepath.Join(*output, "guest.log"), log.Bytes(), 0o644)
	}
	if runErr != nil {
		return runErr
	}
	cases, err := outage.Load(*output)
	if err != nil {
		return err
	}
	r := &outage.Report{Revision: *revision, Kernel: k.Release, Cases: cases}
	if err := r.Write(*output); err != nil {
		return err
	}
	r.Print(os.Stdout)
	fmt.Println("Report:", filepath.Join(*output, outage.File))
	switch {
	case len(r.Broken()) > 0:
		return errBroken
	case exit != 0:
		return fmt.Errorf("the guest ended with %d: see %s", exit, filepath.Join(*output, "guest.log"))
	}
	return nil
}

var told = regexp.MustCompile(`^\s*(=== RUN|--- (PASS|FAIL)|vmtest: )`)

// progress prints, as they begin and end, the names of the outages.
func progress() io.Writer {
	began := time.Now()
	return &vmtest.Lines{Line: func(line []byte) {
		if told.Match(line) {
			fmt.Fprintf(os.Stderr, "outage %s %s\n", time.Since(began).Round(time.Second), bytes.TrimSpace(line))
		}
	}}
}
