// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// pressure turns the stall times that the node program accumulates between its
// runs into totals like those of /proc/pressure. It starts from the kernel's
// own totals, and returns to them whenever the runs were too far apart for the
// program to tell how much time passed.
type pressure struct {
	files  [3]*os.File
	base   [5]uint64 // ns to be added to the program's
	total  [5]uint64 // ns last reported
	gaps   uint64    // gaps accounted for
	buffer [256]byte
}

// The files, and for each of its lines the stall it tells (enum stall), -1 for
// none.
var pressureFiles = [3]struct {
	path       string
	some, full int
}{
	{"/proc/pressure/cpu", 0, -1},
	{"/proc/pressure/memory", 1, 2},
	{"/proc/pressure/io", 3, 4},
}

// stalls are the node fields in the order of the program's stalls.
var stalls = [5]arc.NodeField{
	arc.NodePressureCPUSome,
	arc.NodePressureMemorySome,
	arc.NodePressureMemoryFull,
	arc.NodePressureIOSome,
	arc.NodePressureIOFull,
}

func (p *pressure) open() error {
	for i, f := range pressureFiles {
		file, err := os.Open(f.path)
		if err != nil {
			return errors.Join(err, p.close())
		}
		p.files[i] = file
	}
	if _, err := p.kernelTotals(); err != nil {
		return errors.Join(err, p.close())
	}
	return nil
}

func (p *pressure) read(s *nodeNodeSample, into *arc.Node) {
	if s.Gaps != p.gaps {
		// The files are brought up to date by being read.
		if kernel, err := p.kernelTotals(); err == nil {
			for i := range p.base {
				p.base[i] = max(kernel[i], p.total[i]) - s.Pressure[i]
			}
			p.gaps = s.Gaps
		}
	}
	for i, field := range stalls {
		p.total[i] = p.base[i] + s.Pressure[i]
		into[field] = seconds(p.total[i])
	}
}

// kernelTotals reads the totals of /proc/pressure, in ns.
func (p *pressure) kernelTotals() ([5]uint64, error) {
	var out [5]uint64
	for i, f := range pressureFiles {
		n, err := p.files[i].ReadAt(p.buffer[:], 0)
		if n == 0 {
			return out, fmt.Errorf("read %s: %w", f.path, err)
		}
		rest := p.buffer[:n]
		for len(rest) > 0 {
			var line []byte
			line, rest, _ = bytes.Cut(rest, []byte{'\n'})
			stall := f.full
			if bytes.HasPrefix(line, []byte("some ")) {
				stall = f.some
			}
			if stall >= 0 {
				out[stall] = pressureTotal(line) * 1000
			}
		}
	}
	return out, nil
}

// pressureTotal returns the microseconds after "total=".
func pressureTotal(line []byte) (total uint64) {
	_, digits, _ := bytes.Cut(line, []byte("total="))
	for _, d := range digits {
		if d < '0' || d > '9' {
			break
		}
		total = total*10 + uint64(d-'0')
	}
	return total
}

func (p *pressure) close() error {
	var errs []error
	for i, f := range p.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
		p.files[i] = nil
	}
	return errors.Join(errs...)
}
