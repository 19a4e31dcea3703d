// Package quiet keeps Bubble Tea from asking the terminal at the start of every subcommand.
//
// Version 1 asks for the background's colour in an init of its own (tea_init.go), whatever the program is about to do:
// it writes control sequences, takes what was typed ahead for the answer, and waits five seconds where none comes, as
// from a serial console or expect. It asks nothing where the answer is known before.
//
// The package must be initialised before Bubble Tea: of packages whose imports are ready, Go takes them by the order of
// their paths (The Go Programming Language Specification, "Program initialization"), and genkan/ is before github.com/.
package quiet

import "github.com/charmbracelet/lipgloss"

// Dark says that the background is dark, which nothing here depends on.
var Dark = dark()

func dark() bool {
	lipgloss.SetHasDarkBackground(true)
	return lipgloss.HasDarkBackground()
}
