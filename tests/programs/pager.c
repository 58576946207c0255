/* A full-screen pager: shows the lines of a file on the alternate screen, with a coloured status line
 * below; j and k scroll by a line, space by a page, q ends it. The size is 60 by 12: WASI cannot tell. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 12, LINES = 1000 };

static char *lines[LINES];

static void draw(int top, int count) {
  printf("\033[H");
  for (int row = 0; row < ROWS - 1; row++) {
    if (top + row < count)
      printf("%s", lines[top + row]);
    printf("\033[K\r\n");
  }
  printf("\033[7mline %d of %d\033[m\033[K", top + 1, count);
  fflush(stdout);
}

int main(int argc, char **argv) {
  char line[256], key;
  int count = 0, top = 0;
  FILE *file = fopen(argc > 1 ? argv[1] : "text", "r");
  if (file == NULL) {
    perror("pager");
    return 1;
  }
  while (count < LINES && fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = 0;
    lines[count++] = strdup(line);
  }
  fclose(file);
  printf("\033[?1049h\033[?25l\033[?1h");
  draw(top, count);
  while (read(0, &key, 1) == 1 && key != 'q') {
    top += key == 'j' ? 1 : key == 'k' ? -1 : key == ' ' ? ROWS - 1 : 0;
    top = top < 0 ? 0 : top >= count ? count - 1 : top;
    draw(top, count);
  }
  printf("\033[?1l\033[?25h\033[?1049l");
  return 0;
}
