// What Yosys synthesises and nextpnr places: a bank of linear feedback shift registers, counters
// and a small multiplier, folded into eight pins.
module lfsr #(parameter WIDTH = 16, parameter SEED = 1) (
    input clk, input rst, output reg [WIDTH-1:0] state);
  always @(posedge clk)
    if (rst) state <= SEED;
    else state <= {state[WIDTH-2:0], state[WIDTH-1] ^ state[WIDTH-3] ^ state[1]};
endmodule

module top (input clk, input rst, output reg [7:0] led);
  localparam LANES = 22;
  wire [15:0] noise [LANES-1:0];
  reg [15:0] sum [LANES-1:0];
  reg [15:0] product;
  genvar i;
  generate
    for (i = 0; i < LANES; i = i + 1) begin : lane
      lfsr #(.SEED(i * 77 + 1)) source (.clk(clk), .rst(rst), .state(noise[i]));
      always @(posedge clk)
        if (rst) sum[i] <= i;
        else sum[i] <= sum[i] + (noise[i] ^ sum[(i + 5) % LANES]);
    end
  endgenerate
  always @(posedge clk) begin
    product <= sum[0][7:0] * sum[3][7:0] + sum[7];
    led <= product[7:0] ^ product[15:8] ^ sum[9][7:0] ^ sum[11][15:8];
  end
endmodule
