// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/scenario"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// Options say what to play.
type Options struct {
	// Dist holds otelcol-reflex and reflexguard. Output receives everything.
	Dist, Output string
	Place        Place
	// KernelName is what vmtest calls the kernel of the virtual machine.
	KernelName string
	Settings   scenario.Settings
	// Watch is called with every event of the scenario, in order.
	Watch func(recording.Event)
	// Notice receives lines about the preparations.
	Notice io.Writer
}

const (
	// vmMemoryMiB is what the virtual machine has: the limit of the payment
	// service twice.
	vmMemoryMiB = 4096
	// timeout bounds the whole scenario, start of the machine included.
	timeout = 6 * time.Minute
)

// outputs are the entries of the output directory that a new run replaces.
var outputs = []string{
	recording.EnvironmentFile, recording.ArmFile(recording.Without), recording.ArmFile(recording.With),
	recording.AnswersFile(recording.Without), recording.AnswersFile(recording.With),
	"otlp", "log", "collector.yaml", "console.log", "report.html", "report.json",
}

// Play plays the scenario and leaves its recording in o.Output.
func Play(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, name := range outputs {
		if err := os.RemoveAll(filepath.Join(o.Output, name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(o.Output, "log"), 0o755); err != nil {
		return err
	}
	if err := vmtest.Built(o.Dist, binaries(o.Settings.Arms)...); err != nil {
		return err
	}
	guest, err := vmtest.BuildProgram(ctx, "github.com/otelcol-reflex/reflex/test/cmd/demo-guest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(guest))
	play := playInVM
	if o.Place.Where == Native {
		play = playNatively
	}
	if err := play(ctx, o, guest); err != nil {
		return err
	}
	return describe(o)
}

// describe completes the environment by what only the host knows.
func describe(o Options) error {
	var e recording.Environment
	if err := recording.ReadJSON(o.Output, recording.EnvironmentFile, &e); err != nil {
		return err
	}
	e.Where, e.Why = o.Place.Where, o.Place.Why
	if e.Where == VM {
		e.Host = hostText()
	}
	return recording.WriteJSON(o.Output, recording.EnvironmentFile, &e)
}

// hostText describes the machine under the virtual machine.
func hostText() string {
	text := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		text += ", Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return text
}

// binaries lists what of dist the arms need.
func binaries(arms []string) []string {
	for _, a := range arms {
		if a == recording.With {
			return []string{"otelcol-reflex", "reflexguard"}
		}
	}
	return nil
}

// arguments are those of `demo-guest run` for paths as the workload sees them.
func arguments(o Options, base, out, dist string) []string {
	s := o.Settings
	args := []string{
		"run", "-base", base, "-out", out, "-arms", strings.Join(s.Arms, ","),
		"-calm", s.Calm.String(), "-leak", s.Leak.String(),
		"-seed", strconv.FormatUint(s.Seed, 10), "-limit", strconv.FormatUint(s.Limit, 10),
	}
	if len(binaries(s.Arms)) > 0 {
		args = append(args, "-collector", filepath.Join(dist, "otelcol-reflex"), "-guard", filepath.Join(dist, "reflexguard"))
	}
	return args
}

// playNatively runs the scenario on this machine, below a cgroup of its own.
func playNatively(ctx context.Context, o Options, guest string) error {
	base := filepath.Join(o.Place.CgroupRoot, fmt.Sprintf("reflex-demo-%d", os.Getpid()))
	run := exec.CommandContext(ctx, guest, arguments(o, base, o.Output, o.Dist)...)
	// Asked to end, it ends what it started and removes its cgroups.
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	run.WaitDelay = 30 * time.Second
	// An interrupt from the terminal is for us to pass on, once.
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr := &tail{}
	events := newEventWriter(o.Watch)
	run.Stdout, run.Stderr = events, stderr
	err := run.Run()
	return explain(err, events, stderr.String())
}

// playInVM boots a machine and runs the scenario in it.
func playInVM(ctx context.Context, o Options, guest string) error {
	kernel, err := vmtest.Fetch(ctx, o.KernelName, o.Notice)
	if err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(o.Output, "console.log"))
	if err != nil {
		return err
	}
	defer console.Close()
	stray := &tail{}
	events := newEventWriter(o.Watch)
	events.other = stray
	files := []vmtest.File{{Guest: "/demo/demo-guest", Host: guest, Mode: 0o755}}
	for _, name := range binaries(o.Settings.Arms) {
		files = append(files, vmtest.File{Guest: "/demo/" + name, Host: filepath.Join(o.Dist, name), Mode: 0o755})
	}
	m := vmtest.Machine{
		Kernel: kernel, Files: files,
		Command:   append([]string{"/demo/demo-guest"}, arguments(o, "/sys/fs/cgroup", "/out", "/demo")...),
		MemoryMiB: vmMemoryMiB, CPUs: 2, Timeout: timeout,
		Output: events, Console: console,
	}
	exit, err := m.Run(ctx, o.Output)
	if err == nil && exit != 0 {
		err = fmt.Errorf("the scenario ended with exit code %d", exit)
	}
	return explain(err, events, stray.String())
}

// explain adds to err what the scenario itself said about its end.
func explain(err error, events *eventWriter, said string) error {
	if err == nil {
		return nil
	}
	if events.failure != "" {
		return fmt.Errorf("the scenario failed: %s", events.failure)
	}
	if said != "" {
		return fmt.Errorf("%w; its last words:\n%s", err, said)
	}
	return err
}

// eventWriter hands on the lines of a stream that are events.
type eventWriter struct {
	vmtest.Lines
	watch   func(recording.Event)
	other   io.Writer // receives other lines; may be nil
	failure string
}

func newEventWriter(watch func(recording.Event)) *eventWriter {
	w := &eventWriter{watch: watch}
	w.Line = w.line
	return w
}

func (w *eventWriter) line(line []byte) {
	if e, ok := recording.ParseEvent(line); ok {
		if e.Kind == recording.EventError {
			w.failure = e.Text
		}
		w.watch(e)
	} else if w.other != nil && len(line) > 0 {
		fmt.Fprintf(w.other, "%s\n", line)
	}
}

// tail keeps the last part of what is written to it.
type tail struct{ b []byte }

const tailSize = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if len(t.b) > tailSize {
		t.b = t.b[len(t.b)-tailSize:]
	}
	return len(b), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
