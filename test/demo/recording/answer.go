// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The services a client asks.
const (
	Payment   = "payment"
	Neighbour = "neighbour"
)

// Answer is what became of one request.
type Answer struct {
	Service string
	// Intended is when the request was due. Latency counts from there, so that
	// a client held up by a slow service does not hide the wait.
	Intended int64
	// Latency is in ns; for a request that failed, the time until it was given up.
	Latency int64
	// OK says that the right answer came within the deadline.
	OK bool
}

// Done is when the answer came or was given up.
func (a Answer) Done() int64 { return a.Intended + a.Latency }

// WriteAnswers writes one comma-separated line an answer.
func WriteAnswers(w io.Writer, answers []Answer) error {
	b := bufio.NewWriter(w)
	var line []byte
	for _, a := range answers {
		line = append(line[:0], a.Service...)
		line = append(line, ',')
		line = strconv.AppendInt(line, a.Intended, 10)
		line = append(line, ',')
		line = strconv.AppendInt(line, a.Latency, 10)
		line = append(line, ',')
		line = strconv.AppendBool(line, a.OK)
		line = append(line, '\n')
		if _, err := b.Write(line); err != nil {
			return fmt.Errorf("write answers: %w", err)
		}
	}
	return b.Flush()
}

// ReadAnswers reads what WriteAnswers wrote.
func ReadAnswers(r io.Reader) ([]Answer, error) {
	var answers []Answer
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Split(lines.Text(), ",")
		if len(fields) != 4 {
			return nil, fmt.Errorf("answers line %d: %d fields, want 4", n, len(fields))
		}
		intended, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("answers line %d: %w", n, err)
		}
		latency, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("answers line %d: %w", n, err)
		}
		ok, err := strconv.ParseBool(fields[3])
		if err != nil {
			return nil, fmt.Errorf("answers line %d: %w", n, err)
		}
		service := Payment // shares one string an answer
		if fields[0] != Payment {
			service = strings.Clone(fields[0])
		}
		answers = append(answers, Answer{service, intended, latency, ok})
	}
	return answers, lines.Err()
}
