// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Read reads the file whole.
func (f File) Read() (*Recording, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	defer file.Close()
	var in io.Reader = bufio.NewReaderSize(file, 1<<16)
	if strings.HasSuffix(f.Path, ".gz") {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read recording %s: %w", f.Name, err)
		}
		in = unzipped // its Close has nothing to close
	}
	r, err := parse(in, datasets[f.Dataset])
	if err != nil {
		return nil, fmt.Errorf("read recording %s of %s: %w", f.Name, f.Dataset, err)
	}
	r.Dataset, r.Name = f.Dataset, f.Name
	return r, nil
}

// parse reads CSV text.
func parse(in io.Reader, set dataset) (*Recording, error) {
	c := csv.NewReader(in)
	header, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	for k := range header {
		header[k] = strings.TrimSpace(strings.TrimPrefix(header[k], "\ufeff"))
	}
	if !slices.Contains(header, "label") {
		return nil, ErrUnlabelled
	}
	records, err := c.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(records) < 4 {
		return nil, errors.New("too few rows")
	}
	r := &Recording{Label: make([]bool, len(records)), Rows: make([]Row, len(records))}
	if err := r.label(records, slices.Index(header, "label")); err != nil {
		return nil, err
	}
	train, err := trained(records, slices.Index(header, "split"))
	if err != nil {
		return nil, err
	}
	clock := slices.Index(header, "t")
	if clock < 0 {
		clock = slices.Index(header, "time")
	}
	if err := r.clock(records, clock, set.Interval); err != nil {
		return nil, err
	}
	r.metrics(header, records, set.Excluded)
	if len(r.Columns) == 0 {
		return nil, errors.New("no numeric column to detect anything in")
	}
	r.Prefix = prefix(train, r.Label)
	if r.Prefix >= len(r.Rows) {
		return nil, errors.New("no row left to score after those marked for training")
	}
	r.fill()
	return r, nil
}

func (r *Recording) label(records [][]string, k int) error {
	for i, record := range records {
		v, err := strconv.ParseFloat(strings.TrimSpace(record[k]), 64)
		if err != nil || v != 0 && v != 1 {
			return ErrUnlabelled
		}
		r.Label[i] = v == 1
	}
	return nil
}

// trained counts the leading rows marked for training.
func trained(records [][]string, k int) (int, error) {
	if k < 0 {
		return 0, nil
	}
	n := 0
	for i, record := range records {
		if record[k] != "train" {
			continue
		}
		if i != n {
			return 0, fmt.Errorf("row %d is marked train after one that is not", i+1)
		}
		n++
	}
	return n, nil
}

// metrics takes every column all of whose values are numbers.
func (r *Recording) metrics(header []string, records [][]string, excluded []string) {
	var columns [][]float64
	for k, name := range header {
		if name == "t" || name == "time" || name == "split" || strings.HasPrefix(name, "label") || slices.Contains(excluded, name) {
			continue
		}
		if column, ok := numbers(records, k); ok {
			r.Columns = append(r.Columns, name)
			columns = append(columns, column)
		}
	}
	n := len(columns)
	flat := make([]float64, n*len(records))
	for i := range r.Rows {
		raw := flat[i*n : (i+1)*n : (i+1)*n]
		for j := range columns {
			raw[j] = columns[j][i]
		}
		r.Rows[i].Raw = raw
	}
}

func numbers(records [][]string, k int) (column []float64, ok bool) {
	column = make([]float64, len(records))
	for i, record := range records {
		cell := strings.TrimSpace(record[k])
		if cell == "" {
			column[i] = math.NaN()
			continue
		}
		v, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			return nil, false
		}
		if math.IsInf(v, 0) {
			v = math.NaN()
		}
		column[i] = v
		ok = ok || !math.IsNaN(v)
	}
	return column, ok
}

// clock fills the times: from the time column, or from the row number where
// there is none or it counts rows itself.
func (r *Recording) clock(records [][]string, k int, interval float64) error {
	n := len(records)
	r.Seconds = make([]float64, n)
	var origin float64
	for i, record := range records {
		switch {
		case interval > 0:
			r.Seconds[i] = float64(i) * interval
		case k < 0:
			r.Seconds[i] = float64(i)
		default:
			s, err := instant(record[k])
			if err != nil {
				return fmt.Errorf("time of row %d: %w", i+1, err)
			}
			if i == 0 {
				origin = s
			}
			r.Seconds[i] = s - origin
		}
		if i > 0 && r.Seconds[i] < r.Seconds[i-1] {
			return fmt.Errorf("time of row %d is before that of row %d", i+1, i)
		}
		r.Rows[i].Nanoseconds = int64(math.Round(origin*1e3))*1e6 + int64(math.Round(r.Seconds[i]*1e9))
	}
	steps := make([]float64, 0, n)
	for i := 1; i < n; i++ {
		steps = append(steps, r.Seconds[i]-r.Seconds[i-1])
	}
	slices.Sort(steps)
	r.Interval = steps[len(steps)/2]
	if !(r.Interval > 0) {
		return errors.New("time stands still")
	}
	return nil
}

// instant reads a number of seconds, an epoch in milli-, micro- or nanoseconds,
// which no plausible number of seconds reaches, or a date.
func instant(cell string) (float64, error) {
	cell = strings.TrimSpace(cell)
	v, err := strconv.ParseFloat(cell, 64)
	if err == nil {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, fmt.Errorf("%q is no time", cell)
		}
		for v > 1e11 {
			v /= 1000
		}
		return v, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime} {
		if at, err := time.Parse(layout, cell); err == nil {
			return float64(at.UnixNano()) / 1e9, nil
		}
	}
	return 0, fmt.Errorf("%q is neither seconds nor a date", cell)
}
