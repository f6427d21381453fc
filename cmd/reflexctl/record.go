// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/recorder"
	"github.com/otelcol-reflex/reflex/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/replay"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/words"
)

const (
	usualInterval   = 100 * time.Millisecond
	longestInterval = 10 * time.Second
	usualMaxSize    = byteSize(1 << 30)
	mostCgroups     = 65536
)

// recordOptions are the flags of record.
type recordOptions struct {
	interval, duration time.Duration
	output             string
	maxSize            byteSize
	cgroups            bool
	cgroupRoot         string
	maxCgroups         int
	cgroupNetwork      bool
	closerLook         bool
	allowMissing       bool
	quiet              bool
}

// openSources opens what ticks are read from; tests bring their own.
type openSources func(sources.Settings, sampler.Clock) *sources.Sources

func recordCommand() *cobra.Command { return recordCommandFrom(sources.Open) }

func recordCommandFrom(open openSources) *cobra.Command {
	o := recordOptions{interval: usualInterval, maxSize: usualMaxSize, cgroups: true, maxCgroups: bpf.DefaultMaxCgroups}
	c := &cobra.Command{
		Use:   "record",
		Short: "Record what the arc sees of this machine",
		Long: `Record what the arc sees of this machine: the node and every cgroup, at every
tick, from the very sources that the ebpf receiver reads and on the same grid.
Nothing is judged, and nothing but the file is written. The recording is for
replay, or as CSV for other programs (dump).

It ends after --duration, before it would become longer than --max-size, or when
it is interrupted (SIGINT, SIGTERM), and is complete in each case: the file
appears under its name only then. A recorder that is killed leaves a hidden file
beside it, which replay reads up to its last ten seconds.

It needs CAP_BPF and CAP_PERFMON, as the collector does. Without them it says
what is missing and stops, unless --allow-missing says to record what can be
read from /proc and cgroupfs.`,
		Example: `  sudo reflexctl record --duration 5m --output host.rfx
  reflexctl replay host.rfx --plot host.html --output judged.csv
  sudo reflexctl record --interval 10ms --cgroups=false --max-size 64MiB`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.DurationVar(&o.duration, "duration", 0, "how long to record (default until interrupted)")
	f.DurationVar(&o.interval, "interval", o.interval, "time between two ticks, 10ms to 10s")
	f.StringVarP(&o.output, "output", "o", "", `file to write; "-": standard output (default reflex-<host>-<time>.rfx)`)
	f.Var(&o.maxSize, "max-size", "how large the recording may become, e.g. 64MiB; 0: as large as it gets")
	f.BoolVar(&o.cgroups, "cgroups", o.cgroups, "record every cgroup, too")
	f.StringVar(&o.cgroupRoot, "cgroup-root", "", "cgroup v2 directory below which cgroups are seen (default the mount point)")
	f.IntVar(&o.maxCgroups, "max-cgroups", o.maxCgroups, "how many cgroups are seen at most")
	f.BoolVar(&o.cgroupNetwork, "cgroup-network", false, "count bytes, packets and connections of every cgroup, for which every packet pays; needs CAP_NET_ADMIN besides")
	f.BoolVar(&o.closerLook, "closer-look", false, "also read memory.stat and io.stat of every cgroup at every tick, as the policy does of suspects: what a soak needs")
	f.BoolVar(&o.allowMissing, "allow-missing", false, "record what there is, also without BPF or cgroups")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "nothing on standard error but errors")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		return record(c, &o, open)
	}
	return c
}

// check refuses what cannot be meant.
func (o *recordOptions) check() error {
	switch {
	case o.interval < sampler.FastestInterval || o.interval > longestInterval:
		return fmt.Errorf("interval: %v is not between %v and %v", o.interval, sampler.FastestInterval, longestInterval)
	case o.duration < 0:
		return fmt.Errorf("duration: %v is negative", o.duration)
	case o.duration > 0 && o.duration < o.interval:
		return fmt.Errorf("duration: %v is shorter than one interval (%v)", o.duration, o.interval)
	case o.maxCgroups < 1 || o.maxCgroups > mostCgroups:
		return fmt.Errorf("max-cgroups: %d is not between 1 and %d", o.maxCgroups, mostCgroups)
	case o.cgroupNetwork && !o.cgroups:
		return errors.New("cgroup-network: nothing to count without cgroups")
	case o.closerLook && !o.cgroups:
		return errors.New("closer-look: nothing to read without cgroups")
	case o.cgroupRoot != "" && !filepath.IsAbs(o.cgroupRoot):
		return fmt.Errorf("cgroup-root: %q is not an absolute path", o.cgroupRoot)
	}
	return nil
}

func record(c *cobra.Command, o *recordOptions, open openSources) error {
	clock := new(sampler.SystemClock)
	src := open(sources.Settings{
		CgroupRoot: o.cgroupRoot, MaxCgroups: o.maxCgroups, NodeOnly: !o.cgroups, CgroupNetwork: o.cgroupNetwork,
	}, clock)
	defer closeSources(src)
	if err := o.insist(src); err != nil {
		return err
	}
	if root, ok := src.Names.(recorder.Opener); ok && o.closerLook && src.Cgroups != nil {
		sweeps, end := recorder.LookCloser(src.Cgroups, root)
		defer end()
		src.Cgroups = sweeps
	}
	if o.output == "" {
		o.output = usualName(clock.WallTime())
	}
	out, err := replay.Create(o.output, c.OutOrStdout())
	if err != nil {
		return err
	}
	defer out.Abort()
	w, err := recording.NewWriter(&flushing{out}, describe(o, src, clock.WallTime()))
	if err != nil {
		return err
	}
	w.Limit(int64(o.maxSize))
	set := recorder.Settings{Interval: o.interval, Duration: o.duration, Clock: clock}
	bar := newRecordProgress(c, o, src)
	if bar != nil {
		set.Progress = bar.draw
	}
	summary, err := recorder.Run(c.Context(), src, w, set)
	if bar != nil {
		bar.clear()
	}
	if err != nil {
		return err
	}
	if summary.Ticks == 0 && summary.Full {
		return fmt.Errorf("max-size: %v leaves no room for a tick", &o.maxSize)
	}
	if summary.Ticks == 0 {
		return errors.New("record: ended before the first tick")
	}
	if err := out.Commit(); err != nil || o.quiet {
		return err
	}
	return tableOfRecord(c.ErrOrStderr(), o, summary)
}

// closeSources lets go of what was only read.
func closeSources(src *sources.Sources) {
	_ = src.Close()
	if src.Names != nil {
		_ = src.Names.Close()
	}
}

// insist refuses sources that lack what was asked for, and says what and why.
func (o *recordOptions) insist(src *sources.Sources) error {
	without := src.Node == nil || o.cgroups && src.Cgroups == nil
	for _, m := range src.Missing {
		without = without || m.Name == "eBPF" || o.cgroupNetwork && (m.Name == "CAP_NET_ADMIN" || m.Name == "cgroup_skb") ||
			o.closerLook && m.Name == "memory controller"
	}
	if !without || o.allowMissing {
		return nil
	}
	var b strings.Builder
	b.WriteString("record: what the arc sees cannot be had here:")
	said := map[string]bool{} // one privilege is often the remedy of many
	for _, m := range src.Missing {
		fmt.Fprintf(&b, "\n  %s: %s", m.Name, m.Cause)
		if m.Remedy != "" && !said[m.Remedy] {
			fmt.Fprintf(&b, "\n    → %s", m.Remedy)
		}
		said[m.Remedy] = true
	}
	b.WriteString("\n--allow-missing records what there is")
	if o.cgroups && src.Cgroups == nil {
		b.WriteString("; --cgroups=false does without cgroups")
	}
	return errors.New(b.String())
}

// describe says where a recording comes from.
func describe(o *recordOptions, src *sources.Sources, now int64) recording.Description {
	d := recording.Description{
		Source: recorder.Source, Recorder: "reflexctl " + versionOf(debug.ReadBuildInfo()), CPUs: runtime.NumCPU(),
		Started: now, Interval: int64(o.interval),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		d.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	for _, m := range src.Missing {
		d.Missing = append(d.Missing, recording.Missing{Name: m.Name, Cause: m.Cause})
	}
	return d
}

// usualName names a recording by the machine and the time.
func usualName(now int64) string {
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsRune(host, filepath.Separator) {
		host = "host"
	}
	return fmt.Sprintf("reflex-%s-%s.rfx", host, time.Unix(0, now).UTC().Format("20060102T150405Z"))
}

// flushing passes every block on at once, so that it is kept if the recorder is
// killed.
type flushing struct{ out *replay.Output }

func (f *flushing) Write(b []byte) (int, error) {
	n, err := f.out.Write(b)
	return n, errors.Join(err, f.out.Flush())
}

func tableOfRecord(to io.Writer, o *recordOptions, s *recorder.Summary) error {
	w := newWriter(to)
	if o.output != "-" {
		w.line("recording\t%s", o.output)
	}
	end := ""
	if s.Full {
		end = ", ended by --max-size"
	}
	w.line("ticks\t%d over %s%s", s.Ticks, words.Seconds(s.Span.Seconds()), end)
	w.line("size\t%s, %.0f bytes a tick", words.Bytes(float64(s.Size)), float64(s.Size)/float64(s.Ticks))
	if o.cgroups {
		w.line("cgroups\t%d at most", s.Cgroups)
	}
	for _, n := range []struct {
		n    uint64
		text string
	}{
		{s.Missed, "ticks missed because one took too long or the machine slept"},
		{s.Lost, "ticks lost because writing took too long"},
		{uint64(s.Truncated), "cgroups beyond --max-cgroups"},
	} {
		if n.n > 0 {
			w.line("without\t%d %s", n.n, n.text)
		}
	}
	for _, err := range []error{s.NodeError, s.CgroupsError} {
		if err != nil {
			w.line("trouble\t%v", err)
		}
	}
	return w.flush()
}

// warn says what is missing of sources that are recorded nevertheless.
func warn(to io.Writer, missing []arc.Requirement) {
	for _, m := range missing {
		fmt.Fprintln(to, words.Printable(fmt.Sprintf("missing: %s: %s", m.Name, m.Cause)))
	}
}
