// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// longest is the longest row in bytes: more than any table holds, and little
// enough that a file which is no table does not fill the memory.
const longest = 16 << 20

// Table reads a table written as CSV (RFC 4180: quoted cells may hold commas,
// line breaks and doubled quotes) with a header. Lines that are empty are no
// rows.
type Table struct {
	// Name is the table's, for errors.
	Name string
	// Header holds the names of the columns; no two are alike, but some may be
	// empty.
	Header []string

	lines  lines
	line   int // where the current row begins
	cells  [][]byte
	peeked []peekedRow
}

type peekedRow struct {
	line  int
	cells [][]byte
}

// NewTable reads the header of a table from r.
func NewTable(name string, r io.Reader) (*Table, error) {
	t := &Table{Name: name, lines: newLines(name, r, longest)}
	if start, _ := t.lines.r.Peek(3); bytes.Equal(start, []byte("\xef\xbb\xbf")) {
		_, _ = t.lines.r.Discard(3)
	}
	if start, _ := t.lines.r.Peek(4096); bytes.IndexByte(start, 0) >= 0 {
		return nil, fmt.Errorf("%s: is not text", name)
	}
	switch err := t.read(); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: is empty", name)
	case err != nil:
		return nil, err
	}
	return t, t.readHeader()
}

func (t *Table) readHeader() error {
	numbers, named := 0, 0
	for i, cell := range t.cells {
		text := strings.TrimSpace(string(cell))
		if text != "" {
			named++
			if j := slices.Index(t.Header, text); j >= 0 {
				return fmt.Errorf("%s: line %d: columns %d and %d are both named %q", t.Name, t.line, j+1, i+1, text)
			}
			if _, err := strconv.ParseFloat(text, 64); err == nil {
				numbers++
			}
		}
		t.Header = append(t.Header, text)
	}
	if numbers == named {
		return fmt.Errorf("%s: line %d: is no header: it names no column", t.Name, t.line)
	}
	return nil
}

// Next reads the next row. It returns io.EOF at the end.
func (t *Table) Next() error {
	if len(t.peeked) > 0 {
		t.line, t.cells = t.peeked[0].line, t.peeked[0].cells
		t.peeked = t.peeked[1:]
		if len(t.peeked) == 0 {
			t.peeked = nil
		}
		return nil
	}
	if err := t.read(); err != nil {
		return err
	}
	if len(t.cells) != len(t.Header) {
		return fmt.Errorf("%s: line %d: has %d cells, the header names %d columns", t.Name, t.line, len(t.cells), len(t.Header))
	}
	return nil
}

// Cells are those of the current row, one a column; they are valid until the
// next one is read.
func (t *Table) Cells() [][]byte { return t.cells }

// Line is where the current row begins, counted from 1.
func (t *Table) Line() int { return t.line }

// peek reads up to n rows ahead and returns them; Next will give them out.
func (t *Table) peek(n int) ([]peekedRow, error) {
	var rows []peekedRow
	for len(rows) < n {
		err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		row := peekedRow{t.line, make([][]byte, len(t.cells))}
		for i, cell := range t.cells {
			row.cells[i] = bytes.Clone(cell)
		}
		rows = append(rows, row)
	}
	t.peeked, t.cells = slices.Clone(rows), nil
	return rows, nil
}

// read reads and splits the next line that is not empty.
func (t *Table) read() error {
	for {
		line, err := t.lines.next()
		if err != nil {
			return err
		}
		t.line = t.lines.n
		if len(line) == 0 {
			continue
		}
		if bytes.IndexByte(line, '"') >= 0 {
			return t.splitQuoted(line)
		}
		t.split(line)
		return nil
	}
}

// split cuts a line without quotes at its commas.
func (t *Table) split(line []byte) {
	cells := t.cells[:0]
	for {
		i := bytes.IndexByte(line, ',')
		if i < 0 {
			break
		}
		cells = append(cells, line[:i])
		line = line[i+1:]
	}
	t.cells = append(cells, line)
}

// splitQuoted cuts a line that holds quotes, and the lines that it goes on in.
func (t *Table) splitQuoted(line []byte) error {
	row := bytes.Clone(line)
	for quotes := bytes.Count(row, []byte{'"'}); quotes%2 != 0; {
		if len(row) > longest {
			return t.lines.tooLong(t.line)
		}
		next, err := t.lines.next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: line %d: a quoted cell does not end", t.Name, t.line)
		}
		if err != nil {
			return err
		}
		row = append(append(row, '\n'), next...)
		quotes += bytes.Count(next, []byte{'"'})
	}
	t.cells = t.cells[:0]
	for {
		cell, rest, more, ok := cutQuoted(row)
		if !ok {
			return fmt.Errorf("%s: line %d, column %d: goes on after the quote that ends it", t.Name, t.line, len(t.cells)+1)
		}
		t.cells = append(t.cells, cell)
		if !more {
			return nil
		}
		row = rest
	}
}

// cutQuoted cuts the first cell off a row, and takes its quotes off in place.
// more says that another cell follows.
func cutQuoted(row []byte) (cell, rest []byte, more, ok bool) {
	if len(row) == 0 || row[0] != '"' {
		cell, rest, more = bytes.Cut(row, []byte{','})
		return cell, rest, more, true
	}
	plain := row[:0]
	for i := 1; i < len(row); i++ {
		switch {
		case row[i] != '"':
			plain = append(plain, row[i])
		case i+1 < len(row) && row[i+1] == '"':
			plain = append(plain, '"')
			i++
		case i+1 == len(row):
			return plain, nil, false, true
		case row[i+1] == ',':
			return plain, row[i+2:], true, true
		default:
			return nil, nil, false, false
		}
	}
	return nil, nil, false, false
}
