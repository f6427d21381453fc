// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
)

//go:embed page.html.tmpl
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"seconds":   func(t *float64) string { return secondsOr(t, "never", "%s") },
	"thousands": thousands,
	"signed":    func(t float64) string { return fmt.Sprintf("%+.2f s", t) },
	"ms":        func(v float64) string { return fmt.Sprintf("%.2f ms", v) },
	"gib":       func(b uint64) string { return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30)) },
	"mib":       func(b uint64) string { return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20)) },
	"percent":   func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) },
	"counts":    countsText,
	"milli":     func(t *float64) float64 { return *t * 1000 },
}).Parse(pageText))

// Names of the files that [Write] leaves.
const (
	PageFile = "report.html"
	DataFile = "report.json"
)

// Write writes page and data into dir.
func Write(dir string, in *Input, r *Report) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, DataFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, PageFile))
	if err != nil {
		return err
	}
	if err := WriteHTML(f, in, r); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// WriteHTML writes the page, which loads nothing from anywhere.
func WriteHTML(w io.Writer, in *Input, r *Report) error {
	arm := in.Arms["with"]
	err := page.Execute(w, map[string]any{
		"R": r, "Figures": Figures(in, r), "Story": said(in, r),
		"LimitBytes": arm.Limit, "Share": 100 * float64(arm.Resident) / float64(arm.Limit),
		"Rate": arm.LeakRate / 1_000_000, "Requests": arm.RequestRate,
		"WorkKiB": arm.Work >> 10, "WaitMS": arm.Wait * 1000,
	})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
